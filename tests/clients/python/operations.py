"""Watches the changes of a collection that are of some kinds, as a user who may do just that, and prints each until there were as
many as asked for."""

import sys

from pymongo import MongoClient

uri, operations, count = sys.argv[1], sys.argv[2].split(","), int(sys.argv[3])
client = MongoClient(uri, serverSelectionTimeoutMS=60_000)
pipeline = [{"$match": {"operationType": {"$in": operations}}}]
with client.shop.orders.watch(pipeline) as stream:
    stream.try_next()
    print("ready", flush=True)
    for _, change in zip(range(count), stream):
        print(change["operationType"], change["documentKey"]["_id"])
client.close()
