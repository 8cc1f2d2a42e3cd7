"""Waits until a server is a secondary that has so many numbers."""

import sys

from pymongo import MongoClient
from pymongo.errors import PyMongoError

uri, count = sys.argv[1], int(sys.argv[2])
client = MongoClient(uri, serverSelectionTimeoutMS=60_000)


def has_come():
    try:
        return client.admin.command("hello")["secondary"] and client.numbers.numbers.count_documents({}) == count
    except PyMongoError:
        # What it has may have to give way first: then it closes its connections.
        return False


while not has_come():
    pass
client.close()
