"""Reads, filters, pages and writes with OASIS's own client, and tells what came as JSON."""
import json
import sys

import requests
from taxii2client.v21 import Server, as_pages

url, token = sys.argv[1:3]
server = Server(url, user="any", password=token)
told = {"title": server.title, "roots": [r.url for r in server.api_roots]}
collections = {c.title: c for c in server.default.collections}
told["collections"] = {title: [c.can_read, c.can_write] for title, c in collections.items()}
amber, inbox = collections["Region, up to TLP:AMBER"], collections["Inbox"]


def ids(envelope):
    return [o["id"] for o in envelope.get("objects", [])]


def status_of(call):
    try:
        call()
    except requests.exceptions.HTTPError as e:
        return [e.response.status_code, e.response.json()["http_status"]]
    return [200, "200"]


pages = list(as_pages(amber.get_objects, per_request=50))
told["pages"] = [len(page.get("objects", [])) for page in pages]
objects = [o for page in pages for o in page.get("objects", [])]
told["objects"] = objects
manifest = [o for page in as_pages(amber.get_manifest, per_request=50, version="all") for o in page["objects"]]
told["manifest"] = manifest
told["sightings"] = ids(amber.get_objects(type="sighting"))
told["two types"] = sorted({o["type"] for o in amber.get_objects(type=["identity", "opinion"])["objects"]})
revoked = next(o for o in objects if o.get("revoked"))
told["versions"] = [revoked["id"], amber.object_versions(revoked["id"])["versions"], [v["version"] for v in manifest if v["id"] == revoked["id"]]]
told["one"] = ids(amber.get_object(revoked["id"]))
last = max(o["date_added"] for o in manifest)
told["after the last"] = amber.get_objects(added_after=last)
half = sorted(o["date_added"] for o in manifest)[len(manifest) // 2]
told["after half"] = len(amber.get_manifest(added_after=half, version="all", limit=100000)["objects"])
told["wanted after half"] = len([o for o in manifest if o["date_added"] > half])
told["refused"] = {
    "limit": status_of(lambda: amber.get_objects(limit=-1)),
    "next": status_of(lambda: amber.get_objects(next="foreign")),
    "nobody": status_of(lambda: Server(url, user="any", password="nonsense").title),
}


def indicator(n, marking):
    return {
        "type": "indicator", "spec_version": "2.1", "id": "indicator--%08x-4444-4444-8444-444444444444" % n,
        "created": "2025-12-01T00:00:00.000Z", "modified": "2025-12-01T00:00:00.000Z", "name": "Größe",
        "pattern": "[domain-name:value = 'added-%d.example']" % n, "pattern_type": "stix",
        "valid_from": "2025-12-01T00:00:00Z", "object_marking_refs": [marking],
    }


green, red = "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb", "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1"
envelope = {"objects": [indicator(n, green) for n in range(1000)]}
envelope["objects"][500]["object_marking_refs"] = [red]
status = inbox.add_objects(envelope)
told["added"] = [status.status, status.total_count, status.success_count, status.failure_count, status.failures]
again = server.default.get_status(status.id)
told["status again"] = again.success_count == status.success_count and again.failures == status.failures
json.dump(told, sys.stdout)
