"""Reads a feed directory with PyMISP and says, in JSON, what PyMISP makes of it."""
import json
import sys
from pathlib import Path

from pymisp import MISPEvent, __version__
from pymisp.tools.feed import feed_meta_generator

directory = Path(sys.argv[1])
manifest = json.loads((directory / "manifest.json").read_text())
hashes = sorted((directory / "hashes.csv").read_text().split())
said = {"version": __version__, "problems": [], "attributes": []}
want = set()
for uuid, listed in manifest.items():
    event = MISPEvent()
    event.load_file(str(directory / f"{uuid}.json"))
    again = MISPEvent()
    again.from_dict(**json.loads((directory / f"{uuid}.json").read_text())["Event"])
    own = event.manifest[uuid]
    for key in ("info", "date", "analysis", "threat_level_id", "timestamp"):
        if str(own[key]) != str(listed[key]):
            said["problems"].append(f"{uuid}: {key} is {own[key]!r}, listed as {listed[key]!r}")
    if own["Orgc"] != listed["Orgc"]:
        said["problems"].append(f"{uuid}: Orgc is listed as {listed['Orgc']}")
    if [tag.name for tag in event.tags] != [tag["name"] for tag in listed["Tag"]]:
        said["problems"].append(f"{uuid}: tags are listed as {listed['Tag']}")
    if [a.to_json() for a in event.attributes] != [a.to_json() for a in again.attributes]:
        said["problems"].append(f"{uuid}: load_file and from_dict differ")
    if not event.published:
        said["problems"].append(f"{uuid}: not published")
    for a in event.attributes:
        deleted = bool(a.get("deleted"))
        said["attributes"].append({
            "uuid": str(a.uuid), "type": a.type, "value": str(a.value), "deleted": deleted, "event": uuid,
            "sightings": sorted(str(s.type) for s in a.Sighting),
        })
        if not deleted:
            want.update(f"{h},{uuid}" for h in a.hash_values("md5"))
if sorted(want) != hashes:
    said["problems"].append(f"hashes.csv: {sorted(want ^ set(hashes))}")
feed_meta_generator(directory)
for uuid, made in json.loads((directory / "manifest.json").read_text()).items():
    if str(made["timestamp"]) != str(manifest[uuid]["timestamp"]) or made["Orgc"] != manifest[uuid]["Orgc"]:
        said["problems"].append(f"{uuid}: PyMISP lists {made}")
json.dump(said, sys.stdout)
