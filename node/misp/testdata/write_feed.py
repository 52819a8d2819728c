"""Writes a feed directory with PyMISP's generator."""
import json
import sys
from pathlib import Path

from pymisp.abstract import pymisp_json_default
from pymisp import MISPEvent, MISPObject, MISPOrganisation, MISPSighting
from pymisp.tools.feed import feed_meta_generator

directory = Path(sys.argv[1])
for number, tlp in enumerate(("tlp:green", "tlp:amber")):
    event = MISPEvent()
    event.from_dict(info=f"Event {number}", date="2026-03-01", published=True, distribution=3, threat_level_id=2, analysis=2)
    event.uuid = f"5be1e65d-8198-497b-bdf5-5ec20a01621{number}"
    event.timestamp = 1_772_366_400 + number
    organisation = MISPOrganisation()
    organisation.from_dict(name="CERT", uuid="5be1e65d-8198-497b-bdf5-5ec20a016200")
    event.Orgc = organisation
    event.add_tag(tlp)
    seen = event.add_attribute("domain", f"evil{number}.example", to_ids=True)
    sighting = MISPSighting()
    sighting.from_dict(type="0", date_sighting="1772366400", source="")
    seen.Sighting = [sighting]
    event.add_attribute("ip-dst|port", f"198.51.100.{7 + number}|443", to_ids=True)
    event.add_attribute("domain", f"gone{number}.example", to_ids=True, deleted=True)
    thing = MISPObject("file", strict=False)
    thing.add_attribute("sha256", value=f"{number}" * 64, type="sha256", to_ids=True)
    thing.add_attribute("filename", value="setup.exe", type="filename", to_ids=True)
    event.add_object(thing)
    # What PyMISP has for feeds leaves sightings out; what MISP itself writes has them.
    made = event.to_feed() if number == 0 else {"Event": event.to_dict()}
    with (directory / f"{event.uuid}.json").open("w") as file:
        json.dump(made, file, default=pymisp_json_default)
feed_meta_generator(directory)
