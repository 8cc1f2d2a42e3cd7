"""Makes a change of each kind to a collection."""

import sys

from pymongo import MongoClient

client = MongoClient(sys.argv[1], serverSelectionTimeoutMS=60_000)
orders = client.shop.orders
orders.insert_many([{"_id": 1}, {"_id": 2}])
orders.update_one({"_id": 1}, {"$set": {"paid": True}})
orders.replace_one({"_id": 2}, {"paid": False})
client.shop.people.insert_one({"_id": "elsewhere"})
orders.delete_one({"_id": 1})
orders.insert_one({"_id": 3})
client.close()
