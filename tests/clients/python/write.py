"""Writes numbered documents from one number up to another, in batches, and prints how far it has got."""

import sys

from pymongo import MongoClient

uri, first, end, is_last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "last"
client = MongoClient(uri, serverSelectionTimeoutMS=60_000)
numbers = client.numbers.numbers
for start in range(first, end, 1000):
    batch = [{"n": n, "text": "x" * 50} for n in range(start, min(start + 1000, end))]
    if is_last and start + 1000 >= end:
        batch[-1]["last"] = True
    numbers.insert_many(batch)
print(numbers.estimated_document_count())
client.close()
