"""What `benches -- wire` measures through this driver. Says `ready` when it has prepared itself, and prints nanoseconds."""

import sys
import time

from bson.int64 import Int64
from pymongo import MongoClient

task, uri, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
assert task == "insert-one"
client = MongoClient(uri)
documents = client.measured.documents
TEXT = "x" * 171
for n in range(200):
    documents.insert_one({"_id": Int64(-1 - n), "text": TEXT})
print("ready", flush=True)
start = time.perf_counter_ns()
for n in range(count):
    documents.insert_one({"_id": Int64(n), "text": TEXT})
print(time.perf_counter_ns() - start)
client.close()
