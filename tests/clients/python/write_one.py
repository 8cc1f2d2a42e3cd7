"""Inserts documents `{n: …}` one by one, says `half` in the middle, and marks the last: whatever becomes of the server meanwhile,
the driver has to find another and carry each write out once."""

import sys

from pymongo import MongoClient

uri, count = sys.argv[1], int(sys.argv[2])
client = MongoClient(uri, serverSelectionTimeoutMS=60_000)
collection = client.numbers.numbers
for n in range(count):
    document = {"_id": n, "n": n}
    if n == count - 1:
        document["last"] = True
    collection.insert_one(document)
    if n == count // 2:
        print("half", flush=True)
assert collection.count_documents({}) == count
client.close()
