"""Finds all members of a replica set from one of them, writes to the primary, and reads from the secondaries what was written."""

import sys
import time

from pymongo import MongoClient, ReadPreference, WriteConcern, monitoring
from pymongo.errors import NotPrimaryError, OperationFailure
from pymongo.read_concern import ReadConcern


class Addresses(monitoring.CommandListener):
    """Who was asked for documents."""

    def __init__(self):
        self.asked = set()

    def started(self, event):
        if event.command_name in ("find", "aggregate", "getMore"):
            self.asked.add(event.connection_id)

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass


def nodes(client, wanted):
    """The secondaries, once they are so many."""
    while len(client.secondaries) < wanted or client.primary is None:
        client.admin.command("ping")
        time.sleep(0.02)
    return client.secondaries


def states(client):
    """How the members stand, by the primary."""
    return [member["stateStr"] for member in client.admin.command("replSetGetStatus")["members"]]


uri, seed = sys.argv[1], sys.argv[2]
addresses = Addresses()
client = MongoClient(uri, event_listeners=[addresses], serverSelectionTimeoutMS=60_000, heartbeatFrequencyMS=500)
secondaries = nodes(client, 2)
things = client.python.things
things.insert_many([{"_id": n} for n in range(100)])

# A session reads on any member what it has written.
elsewhere = things.with_options(read_preference=ReadPreference.SECONDARY)
with client.start_session(causal_consistency=True) as session:
    for n in range(100, 150):
        things.insert_one({"_id": n}, session=session)
        assert elsewhere.find_one({"_id": n}, session=session), n
assert addresses.asked and addresses.asked <= secondaries, (addresses.asked, secondaries)
settled = elsewhere.with_options(read_concern=ReadConcern("majority"))
with client.start_session() as session:
    things.update_one({"_id": 0}, {"$set": {"a": 1}}, session=session)
    assert settled.find_one({"_id": 0}, session=session)["a"] == 1
    assert len(list(settled.aggregate([{"$match": {}}, {"$sort": {"_id": -1}}], batchSize=20, session=session))) == 150
assert addresses.asked <= secondaries, (addresses.asked, secondaries)

# As many members as there are, and no more.
for w in (1, 2, 3, "majority"):
    things.with_options(write_concern=WriteConcern(w)).update_one({"_id": 0}, {"$inc": {"a": 1}})
try:
    things.with_options(write_concern=WriteConcern(4)).insert_one({"_id": "four"})
    raise AssertionError("there is no fourth member")
except OperationFailure as error:
    assert error.code == 100, error.details
assert things.find_one({"_id": "four"})
# Nobody has waited for that one to be on all members: for what is written behind it that can be asked.
client.python.others.with_options(write_concern=WriteConcern(3)).insert_one({})

# Connected to a secondary alone, as tools are: it reads, and does not write.
alone = MongoClient(seed, directConnection=True)
assert not alone.is_primary
assert alone.python.things.count_documents({}) > 0
try:
    alone.python.things.insert_one({})
    raise AssertionError("a secondary has written")
except NotPrimaryError as error:
    assert error.details["code"] == 10107, error.details
status = alone.admin.command("replSetGetStatus")
assert status["myState"] == 2 and len(status["members"]) == 3, status
# A member that a busy machine has kept silent too long comes back.
deadline = time.monotonic() + 60
while states(client) != ["PRIMARY", "SECONDARY", "SECONDARY"]:
    assert time.monotonic() < deadline, states(client)
    time.sleep(0.05)
oplog = alone.local["oplog.rs"].find({"ns": "python.things", "op": "i"}).sort("$natural", -1).limit(1)
assert next(oplog)["o"]["_id"] == "four"
alone.close()
client.close()
