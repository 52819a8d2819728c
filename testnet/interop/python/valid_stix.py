"""Says, in JSON, what OASIS's validator and library make of STIX objects in a file.

The file holds a bundle, or a TAXII envelope: then all objects of a collection. What the
specification only recommends is a problem too, but for OURS.
"""
import json
import re
import sys

import stix2
from stix2validator import ValidationOptions, validate_instance

# Recommendations that our objects do not follow, and why. All else is strict.
OURS = [
    # {303} An indicator's name is its value. A description would say it again.
    r"indicator--[0-9a-f-]+: \{303\} Both the name and description",
    # {202} That an indicator indicates a vulnerability is permitted, and how others write it.
    r"relationship--[0-9a-f-]+: \{202\} 'vulnerability' is permitted, but not a suggested relationship target object for 'indicator' objects",
    # STIX has no property for a JA3 or JA4, and no type for a wallet: that is of OASIS's common objects.
    r"indicator--[0-9a-f-]+: Pattern failed to validate: 'x_watchward_ja[34]' is not a valid property for 'network-traffic' objects",
    r"indicator--[0-9a-f-]+: Pattern failed to validate: 'cryptocurrency-wallet' is not a valid stix observable type",
]
# Checks 270 and on compare with lists of IANA and ISO that the validator fetches anew.
OPTIONS = ValidationOptions(version="2.1", disabled="270", strict_types=True, strict_properties=True, enforce_refs=True)

with open(sys.argv[1], encoding="utf-8") as file:
    given = json.load(file)
objects = given.get("objects", [])
bundle = given
if given.get("type") != "bundle":
    bundle = {"type": "bundle", "id": "bundle--3b2d7c3a-54f0-4d8a-9d3e-0a52a4f8a3de", "objects": objects}

result = validate_instance(bundle, OPTIONS)
problems = [str(e) for e in result.errors]
problems += [str(w) for w in result.warnings if not any(re.match(p, str(w)) for p in OURS)]
for o in objects:
    try:
        stix2.parse(o, allow_custom=False, version="2.1")
    except Exception as e:  # whatever it is, the library does not take it
        problems.append(f"stix2: {o.get('id')}: {type(e).__name__}: {e}")
types = {}
for o in objects:
    types[o["type"]] = types.get(o["type"], 0) + 1
json.dump({"objects": len(objects), "types": types, "problems": problems}, sys.stdout)
