"""Answers cases from stdin with mongomock, one line of Extended JSON for each; see tests/oracles/main.rs for their form."""

import json
import math
import sys
from datetime import datetime, timedelta, timezone

import mongomock

EPOCH = datetime(1970, 1, 1)


def decode(value):
    """Numbers are plain in the cases; what JSON has no form for is wrapped."""
    if isinstance(value, list):
        return [decode(element) for element in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("$date"), dict) and "$numberLong" in value["$date"]:
        return EPOCH + timedelta(milliseconds=int(value["$date"]["$numberLong"]))
    if isinstance(value.get("$oid"), str):
        # Its own ObjectIds are UUIDs: longer, and without an order.
        return mongomock.ObjectId(value["$oid"].zfill(32))
    if isinstance(value.get("$numberDouble"), str):
        return float(value["$numberDouble"])
    return {name: decode(field) for name, field in value.items()}


def encode(value):
    if isinstance(value, (list, tuple)):
        return [encode(element) for element in value]
    if isinstance(value, dict):
        return {name: encode(field) for name, field in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$numberDouble": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, mongomock.ObjectId):
        return {"$oid": str(value).replace("-", "")[-24:]}
    if isinstance(value, datetime):
        if value.tzinfo is not None:
            value = value.astimezone(timezone.utc).replace(tzinfo=None)
        return {"$date": {"$numberLong": str(round((value - EPOCH) / timedelta(milliseconds=1)))}}
    return value


def answer(case):
    database = mongomock.MongoClient().town
    items = database.items
    if case["documents"]:
        items.insert_many(case["documents"])
    if case["kind"] == "find":
        return [document["_id"] for document in items.find(case["filter"])]
    if case["kind"] == "sort":
        found = items.find(sort=list(case["sort"].items()), skip=case["skip"], limit=case["limit"])
        return [document["_id"] for document in found]
    if case["kind"] == "project":
        return list(items.find(case["filter"], case["projection"]))
    if case["kind"] == "upsert":
        items.update_one(case["filter"], case["update"], upsert=True)
        return list(items.find())
    if case["kind"] == "update":
        items.update_one(case["filter"], case["update"], array_filters=case["arrayFilters"] or None)
        return list(items.find())
    if case["others"]:
        database.others.insert_many(case["others"])
    return list(items.aggregate(case["pipeline"]))


for line in sys.stdin:
    try:
        result = {"documents": encode(answer(decode(json.loads(line))))}
    except Exception as error:  # what it cannot do, it says in many ways
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(result))
