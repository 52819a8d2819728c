"""Serves medallion, OASIS's TAXII server, on a free port of 127.0.0.1 that it prints.

Reads its configuration as JSON from standard input. A collection whose title says "slow"
answers a POST with a status that is pending; the complete one is at /status/ID/.
"""
import copy
import json
import sys

import medallion
from medallion.backends.memory_backend import MemoryBackend
from werkzeug.serving import make_server


class Slow(MemoryBackend):
    def add_objects(self, api_root, collection_id, objects, request_time):
        status = super().add_objects(api_root, collection_id, objects, request_time)
        if "slow" not in self.get_collection(api_root, collection_id)["title"]:
            return status
        early = copy.deepcopy(status)
        early.update(status="pending", success_count=0, failure_count=0, pending_count=early["total_count"])
        early.pop("successes", None)
        early.pop("failures", None)
        return early


config = json.load(sys.stdin)
app = medallion.application_instance
medallion.set_config(app, "users", config)
medallion.set_config(app, "taxii", config)
app.medallion_backend = Slow()
app.medallion_backend.data = config["data"]
medallion.register_blueprints(app)
server = make_server("127.0.0.1", 0, app)
data = config["data"]["/discovery"]
data["api_roots"] = [r.replace("PORT", str(server.server_port)) for r in data["api_roots"]]
print(server.server_port, flush=True)
server.serve_forever()
