"""The official driver for Python, as its users use it, against the server at the address given."""

import sys

from bson import Decimal128, ObjectId
from pymongo import (
    ASCENDING,
    DESCENDING,
    DeleteOne,
    IndexModel,
    InsertOne,
    MongoClient,
    ReturnDocument,
    UpdateOne,
    WriteConcern,
)
from pymongo.errors import BulkWriteError, ClientBulkWriteException, CollectionInvalid, DuplicateKeyError, OperationFailure

client = MongoClient(sys.argv[1], serverSelectionTimeoutMS=10_000)
database = client.python


def refused(call):
    try:
        call()
    except OperationFailure as error:
        return error.code
    raise AssertionError("it was not refused")


def documents():
    people = database.people
    people.drop()
    people.insert_many([{"name": "Ada", "age": 36}, {"name": "Bo", "age": 7}, {"name": "Cy", "age": 19}])
    adults = people.find({"age": {"$gte": 18}}, {"_id": 0, "name": 1}).sort("age", -1)
    assert list(adults) == [{"name": "Ada"}, {"name": "Cy"}]
    updated = people.update_many({"age": {"$lt": 30}}, {"$inc": {"age": 1}})
    assert (updated.matched_count, updated.modified_count) == (2, 2)
    upserted = people.update_one({"_id": 7}, {"$setOnInsert": {"name": "Di"}}, upsert=True)
    assert upserted.upserted_id == 7
    found = people.find_one_and_update({"_id": 7}, {"$set": {"age": 50}}, return_document=ReturnDocument.AFTER)
    assert found == {"_id": 7, "name": "Di", "age": 50}
    assert people.find_one_and_delete({"_id": 7})["name"] == "Di"
    assert people.count_documents({}) == people.estimated_document_count() == 3
    assert sorted(people.distinct("name")) == ["Ada", "Bo", "Cy"]
    values = {"_id": ObjectId(), "decimal": Decimal128("1.50"), "large": 2**40, "bytes": b"\x00\xff", "none": None}
    people.insert_one(values)
    assert people.find_one({"_id": values["_id"]}) == values
    unacknowledged = people.with_options(write_concern=WriteConcern(w=0))
    unacknowledged.insert_one({"_id": "unacknowledged"})
    assert people.find_one({"_id": "unacknowledged"}) is not None


def indexes():
    users = database.users
    users.drop()
    assert users.create_index("email", unique=True) == "email_1"
    names = users.create_indexes([IndexModel([("city", ASCENDING), ("age", DESCENDING)]), IndexModel("tags")])
    assert names == ["city_1_age_-1", "tags_1"]
    users.insert_one({"email": "a@b.c", "tags": ["x", "y"]})
    assert sorted(users.index_information()) == ["_id_", "city_1_age_-1", "email_1", "tags_1"]
    assert users.find({"tags": "x"}).explain()["queryPlanner"]["winningPlan"]["inputStage"]["indexName"] == "tags_1"
    users.drop_index("email_1")
    users.insert_one({"email": "a@b.c"})
    users.drop_indexes()
    assert list(users.index_information()) == ["_id_"]


def aggregation():
    orders = database.totals
    orders.drop()
    orders.insert_many([{"_id": n, "city": city, "total": n} for n, city in enumerate(["Oslo", "Bergen", "Oslo"])])
    sums = [{"$group": {"_id": "$city", "total": {"$sum": "$total"}}}, {"$sort": {"_id": 1}}]
    assert list(orders.aggregate(sums)) == [{"_id": "Bergen", "total": 1}, {"_id": "Oslo", "total": 2}]
    same = {"from": "totals", "localField": "city", "foreignField": "city", "as": "same"}
    joined = [{"$match": {"_id": 0}}, {"$lookup": same}, {"$project": {"count": {"$size": "$same"}}}]
    assert list(orders.aggregate(joined)) == [{"_id": 0, "count": 2}]
    orders.aggregate([{"$match": {"city": "Oslo"}}, {"$out": "oslo"}])
    assert database.oslo.count_documents({}) == 2


def failures():
    unique = database.unique
    unique.drop()
    unique.create_index([("a", ASCENDING)], unique=True)
    unique.insert_one({"a": 1})
    try:
        unique.insert_one({"a": 1})
        raise AssertionError("a duplicate was inserted")
    except DuplicateKeyError as error:
        assert error.details["keyValue"] == {"a": 1}
    try:
        unique.bulk_write([InsertOne({"a": 2}), InsertOne({"a": 1}), UpdateOne({"a": 2}, {"$set": {"b": 1}}), DeleteOne({"a": 2})], ordered=False)
        raise AssertionError("a duplicate was inserted")
    except BulkWriteError as error:
        details = error.details
        assert (details["nInserted"], details["nModified"], details["nRemoved"]) == (1, 1, 1)
        assert [refused["index"] for refused in details["writeErrors"]] == [1]
    assert refused(lambda: database.command("nope")) == 59
    assert refused(lambda: unique.find_one({"$nope": 1})) == 2
    try:
        database.create_collection("unique")
        raise AssertionError("it was created twice")
    except CollectionInvalid:
        pass


def transactions():
    accounts = database.accounts
    accounts.drop()
    accounts.insert_many([{"_id": "a", "balance": 10}, {"_id": "b", "balance": 0}])
    with client.start_session() as session:
        def transfer(session):
            accounts.update_one({"_id": "a"}, {"$inc": {"balance": -5}}, session=session)
            accounts.update_one({"_id": "b"}, {"$inc": {"balance": 5}}, session=session)
            return accounts.find_one({"_id": "b"}, session=session)["balance"]

        assert session.with_transaction(transfer) == 5
        try:
            with session.start_transaction():
                accounts.delete_many({}, session=session)
                raise KeyError
        except KeyError:
            pass
    assert [account["balance"] for account in accounts.find()] == [5, 5]


def bulk_writes():
    target = "python.bulk"
    database.bulk.drop()
    result = client.bulk_write(
        [
            InsertOne({"_id": 1}, namespace=target),
            InsertOne({"_id": 1}, namespace="elsewhere.bulk"),
            UpdateOne({"_id": 1}, {"$set": {"n": 1}}, namespace=target),
            UpdateOne({"_id": 2}, {"$set": {"n": 1}}, upsert=True, namespace=target),
            DeleteOne({"_id": 1}, namespace="elsewhere.bulk"),
        ],
        verbose_results=True,
    )
    counts = (result.inserted_count, result.modified_count, result.upserted_count, result.deleted_count)
    assert counts == (2, 1, 1, 1)
    assert result.insert_results[0].inserted_id == 1 and result.update_results[3].upserted_id == 2
    try:
        client.bulk_write([InsertOne({"_id": n}, namespace=target) for n in (1, 5)], ordered=False)
        raise AssertionError("a duplicate was inserted")
    except ClientBulkWriteException as error:
        assert (error.write_errors[0]["code"], error.partial_result.inserted_count) == (11000, 1)


for part in [documents, bulk_writes, indexes, aggregation, failures, transactions]:
    part()
    print(part.__name__)
client.close()
