"""Watches a collection until a document says that it is the last, and prints the numbers of the documents it was told of, a line
each: whatever happens to the server meanwhile, the driver has to go on where it was."""

import sys

from pymongo import MongoClient

client = MongoClient(sys.argv[1], serverSelectionTimeoutMS=60_000)
with client.numbers.numbers.watch([{"$match": {"operationType": "insert"}}]) as stream:
    stream.try_next()
    print("ready", flush=True)
    for change in stream:
        document = change["fullDocument"]
        print(document["n"])
        if document.get("last"):
            break
client.close()
