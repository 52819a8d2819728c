"""Reads, filters, pages and writes by OASIS's own client, and tells what came as JSON."""
import json
import sys

import requests
from taxii2client.v21 import Server, as_pages

url, feed, inbox, desk = sys.argv[1:5]


def server(user):
    return Server(url, user=user, password="secret")


def collection(user, wanted):
    return next(c for c in server(user).default.collections if c.id == wanted)


def ids(envelope):
    return [o["id"] for o in envelope.get("objects", [])]


def paged(func, **filters):
    return [ids(page) for page in as_pages(func, per_request=2, **filters)]


def status_of(call):
    try:
        call()
    except requests.exceptions.HTTPError as e:
        return [e.response.status_code, e.response.json()["http_status"]]
    return [200, "200"]


told = {}
s = server("amber")
told["server"] = [s.title, s.contact, [r.url for r in s.api_roots], s.default.url]
told["root"] = [s.default.title, s.default.versions, s.default.max_content_length]
told["collections"] = [[c.id, c.title, c.can_read, c.can_write] for c in s.default.collections]

c = collection("amber", feed)
told["objects"] = ids(c.get_objects())
told["pages"] = paged(c.get_objects)
told["manifest pages"] = paged(c.get_manifest, version="all")
told["types"] = paged(c.get_objects, type=["identity", "sighting"])
told["id"] = ids(c.get_objects(id=told["objects"][0]))
told["after"] = ids(c.get_objects(added_after="2026-01-02T03:04:05.000004Z"))
told["nothing"] = c.get_objects(added_after="2030-01-01T00:00:00Z")
one = "indicator--00000001-1111-4111-8111-111111111111"
told["one"] = [o["modified"] for o in c.get_object(one)["objects"]]
told["first"] = [o["modified"] for o in c.get_object(one, version="first")["objects"]]
told["versions"] = c.object_versions(one)["versions"]
told["lower ceiling"] = collection("reader", feed).object_versions(one)["versions"]
told["refused"] = {
    "limit": status_of(lambda: c.get_objects(limit=-1)),
    "next": status_of(lambda: c.get_objects(next="foreign")),
    "match": status_of(lambda: c.get_objects(colour="red")),
    "no object": status_of(lambda: c.get_object("indicator--00000099-1111-4111-8111-111111111111")),
    "nobody": status_of(lambda: server("nobody").title),
}

amber = "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421"


def indicator(n, marking):
    return {
        "type": "indicator", "spec_version": "2.1", "id": "indicator--%08x-4444-4444-8444-444444444444" % n,
        "created": "2025-12-01T00:00:00.000Z", "modified": "2025-12-01T00:00:00.000Z", "name": "Größe",
        "pattern": "[domain-name:value = 'evil%d.example']" % n, "pattern_type": "stix",
        "valid_from": "2025-12-01T00:00:00Z", "object_marking_refs": [marking],
    }


box = collection("reporter", inbox)
envelope = {"objects": [indicator(n, amber) for n in range(1000)]}
envelope["objects"][500]["object_marking_refs"] = ["marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1"]
status = box.add_objects(envelope)
told["added"] = [status.status, status.total_count, status.success_count, status.failure_count, status.failures]
again = server("reporter").default.get_status(status.id)
told["status again"] = again.success_count == status.success_count and again.failures == status.failures
told["too large"] = status_of(lambda: box.add_objects({"objects": [{"x": "x" * (40 << 20)}]}))

d = collection("admin", desk)
seven = "indicator--00000007-1111-4111-8111-111111111111"
d.delete_object(seven, version="first")
told["one deleted"] = d.object_versions(seven)["versions"]
d.delete_object(seven)
told["all deleted"] = ids(d.get_objects(version="all"))
json.dump(told, sys.stdout)
