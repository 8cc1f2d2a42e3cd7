"""Change streams of the official driver for Python: every scope, every option, invalidation, and what is refused."""

import sys

from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

client = MongoClient(sys.argv[1], serverSelectionTimeoutMS=10_000)
database = client.streams
IMAGES = {"changeStreamPreAndPostImages": {"enabled": True}}


def fresh(name, **options):
    database.drop_collection(name)
    return database.create_collection(name, **options) if options else database[name]


def take(stream, count):
    return [next(stream) for _ in range(count)]


def kinds(stream, count):
    return [event["operationType"] for event in take(stream, count)]


def refused(call):
    try:
        call()
    except OperationFailure as error:
        return error.code
    raise AssertionError("it was not refused")


def starts():
    orders = fresh("starts")
    with orders.watch(max_await_time_ms=200) as stream:
        assert stream.try_next() is None
        before = stream.resume_token
        database.elsewhere.insert_one({})
        # The token goes on, though there is nothing for this stream.
        while stream.resume_token == before:
            assert stream.try_next() is None
        told = stream.resume_token
        orders.insert_many([{"_id": 1}, {"_id": 2}])
        first = next(stream)
        assert (first["operationType"], first["fullDocument"]) == ("insert", {"_id": 1})
        assert stream.resume_token == first["_id"] and "wallTime" in first
    for options, expected in [
        ({"resume_after": first["_id"]}, 2),
        ({"start_after": first["_id"]}, 2),
        ({"resume_after": told}, 1),
        ({"start_at_operation_time": first["clusterTime"]}, 1),
    ]:
        with orders.watch(**options) as stream:
            assert next(stream)["documentKey"] == {"_id": expected}, options


def documents():
    orders = fresh("images", **IMAGES)
    both = {"full_document": "required", "full_document_before_change": "required"}
    plain, looked_up, imaged = orders.watch(), orders.watch(full_document="updateLookup"), orders.watch(**both)
    orders.insert_one({"_id": 1, "n": 1, "list": [1, 2, 3], "gone": True})
    orders.update_one({"_id": 1}, [{"$set": {"n": 2, "list": [1]}}, {"$unset": "gone"}])
    orders.replace_one({"_id": 1}, {"n": 3})
    update = take(plain, 2)[1]
    truncated = [{"field": "list", "newSize": 1}]
    expected = {"updatedFields": {"n": 2}, "removedFields": ["gone"], "truncatedArrays": truncated}
    assert update["updateDescription"] == expected
    assert "fullDocument" not in update and "fullDocumentBeforeChange" not in update
    # As the update left it, whatever has come since.
    assert take(looked_up, 2)[1]["fullDocument"] == {"_id": 1, "n": 2, "list": [1]}
    _, update, replaced = take(imaged, 3)
    assert update["fullDocumentBeforeChange"] == {"_id": 1, "n": 1, "list": [1, 2, 3], "gone": True}
    assert update["fullDocument"] == replaced["fullDocumentBeforeChange"] == {"_id": 1, "n": 2, "list": [1]}
    for stream in (plain, looked_up, imaged):
        stream.close()

    bare = fresh("bare")
    bare.insert_one({"_id": 1})
    wanted = bare.watch(full_document_before_change="whenAvailable")
    required = bare.watch(full_document_before_change="required")
    bare.delete_one({"_id": 1})
    assert next(wanted)["fullDocumentBeforeChange"] is None
    assert refused(lambda: next(required)) == 47
    wanted.close()


def scopes():
    orders, elsewhere = fresh("scoped"), client.elsewhere.scoped
    with client.start_session() as session:
        by_pipeline = orders.watch(
            [
                {"$match": {"updateDescription.updatedFields.status": {"$exists": True}}},
                {"$project": {"operationType": 1, "status": "$updateDescription.updatedFields.status"}},
            ]
        )
        of_database = database.watch([{"$match": {"operationType": {"$in": ["insert", "drop"]}}}])
        of_everything = client.watch([{"$match": {"ns.coll": {"$regex": "^scoped"}}}])
        in_session = orders.watch([{"$match": {"operationType": "drop"}}], session=session)
        orders.insert_one({"_id": 1})
        orders.update_one({"_id": 1}, {"$set": {"n": 1}})
        orders.update_one({"_id": 1}, {"$set": {"status": "paid"}})
        elsewhere.insert_one({"_id": ObjectId()})
        orders.drop()
        seen = next(by_pipeline)
        assert (seen["operationType"], seen["status"]) == ("update", "paid") and "documentKey" not in seen
        assert kinds(of_database, 2) == ["insert", "drop"]
        assert kinds(of_everything, 5) == ["insert", "update", "update", "insert", "drop"]
        assert kinds(in_session, 1) == ["drop"]
        for stream in (by_pipeline, of_database, of_everything, in_session):
            stream.close()


def options():
    orders = fresh("options")
    expanded = orders.watch(show_expanded_events=True)
    collated = orders.with_options(read_concern=ReadConcern("majority")).watch(
        # Without a collation: this driver does not send the one it is given.
        [{"$match": {"fullDocument.city": {"$regex": "^oslo$", "$options": "i"}}}],
        batch_size=2,
        max_await_time_ms=500,
        comment="of a test",
    )
    database.create_collection("options")
    orders.create_index("a")
    cities = ["Oslo", "Bergen", "OSLO", "oslo", "Oslo"]
    orders.insert_many([{"_id": n, "city": city} for n, city in enumerate(cities)])
    orders.drop_index("a_1")
    assert [event["documentKey"]["_id"] for event in take(collated, 4)] == [0, 2, 3, 4]
    assert collated.try_next() is None
    events = take(expanded, 8)
    expected = ["create", "createIndexes"] + ["insert"] * 5 + ["dropIndexes"]
    assert [event["operationType"] for event in events] == expected
    assert all("collectionUUID" in event for event in events)
    expanded.close()
    collated.close()


def split():
    large = fresh("large", **IMAGES)
    large.insert_one({"_id": 1, "text": "a" * (10 << 20)})
    both = {"full_document": "required", "full_document_before_change": "required"}
    with large.watch([{"$changeStreamSplitLargeEvent": {}}], **both) as stream:
        large.update_one({"_id": 1}, {"$set": {"text": "b" * (10 << 20)}})
        parts = [next(stream)]
        while parts[-1]["splitEvent"]["fragment"] < parts[0]["splitEvent"]["of"]:
            parts.append(next(stream))
    event = {name: value for part in parts for name, value in part.items()}
    assert len(parts) > 1
    assert (event["fullDocumentBeforeChange"]["text"][0], event["fullDocument"]["text"][0]) == ("a", "b")
    # Resumed behind a part, it goes on with the next.
    with large.watch([{"$changeStreamSplitLargeEvent": {}}], resume_after=parts[0]["_id"], **both) as stream:
        assert next(stream)["splitEvent"]["fragment"] == 2


def invalidation():
    orders = fresh("ends")
    orders.insert_one({})
    with orders.watch() as dropped:
        orders.drop()
        _, last = take(dropped, 2)
        assert last["operationType"] == "invalidate"
        assert next(dropped, None) is None and not dropped.alive
    assert refused(lambda: orders.watch(resume_after=last["_id"])) == 260
    with orders.watch(start_after=last["_id"]) as again:
        orders.insert_one({"_id": "again"})
        assert next(again)["documentKey"] == {"_id": "again"}
        orders.rename("renamed", dropTarget=True)
        renamed, end = take(again, 2)
        assert (renamed["operationType"], renamed["to"]) == ("rename", {"db": "streams", "coll": "renamed"})
        assert end["operationType"] == "invalidate"
    client.drop_database("streams_end")
    with client.streams_end.watch() as of_database:
        client.streams_end.a.insert_one({})
        client.drop_database("streams_end")
        assert kinds(of_database, 4) == ["insert", "drop", "dropDatabase", "invalidate"]


def failures():
    orders = fresh("refused")
    assert refused(lambda: orders.watch([{"$group": {"_id": 1}}])) == 20
    assert refused(lambda: orders.watch(resume_after={"_data": "00"})) == 260
    assert refused(lambda: client.admin.watch()) == 73
    assert refused(lambda: orders.watch([{"$project": {"_id": 0}}])) == 280


for part in [starts, documents, scopes, options, split, invalidation, failures]:
    part()
    print(part.__name__)
client.close()
