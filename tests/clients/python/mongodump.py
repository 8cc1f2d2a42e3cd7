"""Sends the commands of `mongodump --oplog`, in its order, while somebody writes, and restores what they gave."""

import sys

from bson.son import SON
from pymongo import MongoClient
from pymongo.errors import OperationFailure

client = MongoClient(sys.argv[1], serverSelectionTimeoutMS=10_000)
shop = client.shop.orders
shop.drop()
shop.insert_many({"_id": n, "n": n} for n in range(300))
shop.create_index("n", name="by_n")


def run(database, *fields):
    return client[database].command(SON(fields))


def read(database, *fields):
    """Everything that a cursor gives."""
    answer = run(database, *fields)["cursor"]
    documents, name = answer.get("firstBatch"), answer["ns"].partition(".")[2]
    while answer["id"]:
        answer = run(database, ("getMore", answer["id"]), ("collection", name))["cursor"]
        documents += answer["nextBatch"]
    return documents


def find_one(collection, sort):
    found = read("local", ("find", collection), ("limit", 1), ("singleBatch", True), ("sort", {"$natural": sort}))
    (entry,) = found
    return entry


# Is it a router, or Atlas?
assert run("admin", ("isMaster", 1)).get("msg") != "isdbgrid"
try:
    run("admin", ("atlasVersion", 1))
    sys.exit("it is no Atlas")
except OperationFailure as error:
    assert error.code == 59, error
run("admin", ("ping", 1))

# What there is.
databases = run("admin", ("listDatabases", 1), ("nameOnly", True))["databases"]
names = [database["name"] for database in databases]
assert "shop" in names and "local" not in names, names
collections = read("shop", ("listCollections", 1), ("filter", {}), ("cursor", {}))
(found,) = [collection for collection in collections if collection["name"] == "orders"]
assert found["type"] == "collection" and found["info"]["uuid"] and "options" in found
indexes = read("shop", ("listIndexes", "orders"), ("cursor", {}))
assert [index["name"] for index in indexes] == ["_id_", "by_n"]
assert run("admin", ("buildInfo", 1))["version"]
run("admin", ("getParameter", 1), ("featureCompatibilityVersion", 1))
# Users and roles it reads where they are listed as collections.
assert not read("admin", ("listCollections", 1), ("filter", {}), ("cursor", {}))

# Where the oplog begins.
master = run("admin", ("isMaster", 1))
assert master["hosts"], "so it is local.oplog.rs"
transactions = read(
    "config",
    ("find", "transactions"),
    ("filter", {"state": {"$in": ["prepared", "inProgress"]}}),
    ("sort", {"startOpTime": 1}),
    ("limit", 1),
    ("singleBatch", True),
    ("readConcern", {"level": "local"}),
)
start = transactions[0]["startOpTime"]["ts"] if transactions else find_one("oplog.rs", -1)["ts"]

# The collection, with writes before, while and after it is read.
shop.insert_one({"_id": 300})
assert run("shop", ("count", "orders"))["n"] == 301
dump = {}
answer = run("shop", ("find", "orders"), ("batchSize", 100), ("noCursorTimeout", True))["cursor"]
dump.update((document["_id"], document) for document in answer["firstBatch"])
shop.delete_one({"_id": 0})
shop.replace_one({"_id": 299}, {"whole": True})
shop.insert_many([{"_id": 301}, {"_id": 302}])
while answer["id"]:
    answer = run("shop", ("getMore", answer["id"]), ("collection", "orders"))["cursor"]
    dump.update((document["_id"], document) for document in answer["nextBatch"])
shop.delete_one({"_id": 1})

# The oplog between, of which nothing may have gone.
end = find_one("oplog.rs", -1)["ts"]
assert find_one("oplog.rs", 1)["ts"] <= start < end
between = {"$and": [{"ts": {"$gte": start}}, {"ts": {"$lte": end}}]}
entries = read("local", ("find", "oplog.rs"), ("filter", between), ("oplogReplay", True))
assert find_one("oplog.rs", 1)["ts"] <= start
assert (entries[0]["ts"], entries[-1]["ts"]) == (start, end)
assert all("renameCollection" not in entry["o"] for entry in entries)


def apply(entry):
    if entry["op"] == "c":
        for operation in entry["o"].get("applyOps", []):
            apply(operation)
    elif entry.get("ns") == "shop.orders":
        if entry["op"] == "d":
            dump.pop(entry["o"]["_id"], None)
        elif entry["op"] in "iu":
            assert "$v" not in entry["o"], "nothing was changed in part"
            dump[entry["o"]["_id"]] = entry["o"]


for entry in entries:
    apply(entry)
assert dump == {document["_id"]: document for document in shop.find()}
client.close()
