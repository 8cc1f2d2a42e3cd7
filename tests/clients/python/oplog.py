"""Tails local.oplog.rs as tools do that follow a replica set."""

import sys
import threading

import pymongo
from bson.timestamp import Timestamp
from pymongo import CursorType, InsertOne, MongoClient

client = MongoClient(sys.argv[1], serverSelectionTimeoutMS=10_000)
oplog = client.local.oplog.rs
shop = client.shop.orders
shop.drop()
# So that there is something in it.
client.elsewhere.documents.insert_one({})

newest = oplog.find().sort("$natural", pymongo.DESCENDING).limit(-1).next()
oldest = oplog.find_one(sort=[("$natural", pymongo.ASCENDING)])
assert oldest["ts"] <= newest["ts"]

# What was written before, from a time on.
shop.insert_one({"_id": 1, "n": 1, "list": [1, {"a": 1}]})
shop.update_one({"_id": 1}, {"$set": {"n": 2, "list.1.a": 2}, "$unset": {"gone": 1}})
shop.replace_one({"_id": 1}, {"whole": True})
shop.delete_one({"_id": 1})
query = {"ts": {"$gt": newest["ts"]}, "ns": {"$regex": "^shop[.]"}}
entries = list(oplog.find(query))
created = [entry for entry in entries if entry["op"] == "c"]
inserted = [entry for entry in entries if entry["op"] == "i"]
rest = [entry for entry in entries if entry["op"] in "ud"]
if not inserted:
    # The collection came into being with its first document: both are one entry.
    (both,) = list(oplog.find({"ts": {"$gt": newest["ts"]}, "o.applyOps.op": "i"}))
    creation, insert = both["o"]["applyOps"]
    assert creation["o"]["create"] == "orders"
else:
    (insert,) = inserted
assert (insert["op"], insert["ns"]) == ("i", "shop.orders")
assert (insert["o"], insert["o2"]) == ({"_id": 1, "n": 1, "list": [1, {"a": 1}]}, {"_id": 1})
assert [entry["op"] for entry in rest] == ["u", "u", "d"]
update, replacement, deletion = rest
assert update["o"] == {"$v": 2, "diff": {"u": {"n": 2}, "slist": {"a": True, "s1": {"u": {"a": 2}}}}}
assert (replacement["o"], replacement["o2"]) == ({"_id": 1, "whole": True}, {"_id": 1})
assert deletion["o"] == {"_id": 1}
for entry in rest:
    assert (entry["v"], entry["ui"]) == (2, insert["ui"])
    # As with MongoDB, an entry says which statement of which session it is.
    assert entry["stmtId"] == 0 and entry["txnNumber"] > 0
assert update["ts"] < replacement["ts"] < deletion["ts"]
assert [entry["ts"] for entry in oplog.find({"ts": {"$gte": update["ts"]}, "op": "u"})] == [update["ts"], replacement["ts"]]



def follow(cursor, count):
    """So many entries of a tail, which a driver gives as many at a time as there are."""
    found = []
    while len(found) < count and cursor.alive:
        entry = next(cursor, None)
        if entry is not None:
            found.append(entry)
    return found


# Tailing: what is written later wakes the cursor, in order; and it ends with a time when nothing is.
options = {"cursor_type": CursorType.TAILABLE_AWAIT, "oplog_replay": True}
tail = oplog.find({"ts": {"$gt": deletion["ts"]}, "ns": "shop.orders"}, **options).max_await_time_ms(10_000)
writer = threading.Timer(0.3, lambda: [shop.insert_one({"_id": n}) for n in range(2, 5)])
writer.start()
assert [entry["o"]["_id"] for entry in follow(tail, 3)] == [2, 3, 4]
writer.join()
quiet = oplog.find({"ts": {"$gt": Timestamp(2**31, 1)}}, cursor_type=CursorType.TAILABLE_AWAIT).max_await_time_ms(100)
assert [next(quiet, None) for _ in range(2)] == [None, None] and quiet.alive
quiet.close()
tail.close()

# A transaction is one entry.
before = oplog.find().sort("$natural", -1).limit(1).next()["ts"]
with client.start_session() as session, session.start_transaction():
    shop.insert_one({"_id": 10}, session=session)
    shop.delete_one({"_id": 2}, session=session)
    session_id = session.session_id["id"]
(transaction,) = oplog.find({"ts": {"$gt": before}, "o.applyOps": {"$exists": True}})
assert [(op["op"], op["o"]) for op in transaction["o"]["applyOps"]] == [("i", {"_id": 10}), ("d", {"_id": 2})]
assert transaction["ns"] == "admin.$cmd" and transaction["lsid"]["id"] == session_id

# So are several documents of one command.
before = transaction["ts"]
shop.bulk_write([InsertOne({"_id": n}) for n in range(20, 23)])
(several,) = oplog.find({"ts": {"$gt": before}, "op": "c"})
assert [op["o"]["_id"] for op in several["o"]["applyOps"]] == [20, 21, 22]

# Backward is forward, reversed.
forward = [entry["ts"] for entry in oplog.find(batch_size=5)]
backward = [entry["ts"] for entry in oplog.find().sort("$natural", -1).batch_size(5)]
assert forward == backward[::-1] and len(set(forward)) == len(forward)

# Definitions.
before = oplog.find().sort("$natural", -1).limit(1).next()["ts"]
shop.create_index("n")
shop.rename("moved")
client.shop.moved.drop()
commands = [entry["o"] for entry in oplog.find({"ts": {"$gt": before}, "op": "c"})]
names = [next(iter(command)) for command in commands]
assert names == ["createIndexes", "renameCollection", "drop"], names
assert commands[0]["key"] == {"n": 1} and commands[1]["to"] == "shop.moved"
assert oplog.find_one({"op": "i"}, {"_id": 0, "op": 1}) in (None, {"op": "i"})
client.close()
