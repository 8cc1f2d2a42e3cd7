"""Cases of the driver specification of change streams (resumability) and of retryable writes, by fail points."""

import sys

from pymongo import MongoClient
from pymongo.errors import OperationFailure

client = MongoClient(sys.argv[1], serverSelectionTimeoutMS=10_000)
assert client.admin.command("getParameter", enableTestCommands=1)["enableTestCommands"]
events = client.spec.events
events.drop()
client.spec.create_collection("events")


def fail(point, data, times=1):
    client.admin.command("configureFailPoint", point, mode={"times": times}, data=data)


RESUMABLE = [6, 7, 89, 91, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436, 63, 150, 13388, 234, 133]
for code in RESUMABLE:
    with events.watch(max_await_time_ms=50) as stream:
        fail("failGetMoreAfterCursorCheckout", {"errorCode": code})
        events.insert_one({"code": code})
        assert next(stream)["fullDocument"]["code"] == code

for code in [1, 50, 136, 237, 280]:
    with events.watch(max_await_time_ms=50) as stream:
        fail("failGetMoreAfterCursorCheckout", {"errorCode": code})
        events.insert_one({"code": code})
        try:
            next(stream)
            raise AssertionError(f"{code} was resumed")
        except OperationFailure as error:
            assert error.code == code

# Without the label a number alone does not have a stream resumed; with it any does.
with events.watch(max_await_time_ms=50) as stream:
    fail("failCommand", {"failCommands": ["getMore"], "errorCode": 6})
    try:
        next(stream)
        raise AssertionError("it was resumed")
    except OperationFailure as error:
        assert error.code == 6
with events.watch(max_await_time_ms=50) as stream:
    labelled = {"failCommands": ["getMore"], "errorCode": 50, "errorLabels": ["ResumableChangeStreamError"]}
    fail("failCommand", labelled)
    events.insert_one({"labelled": True})
    assert next(stream)["fullDocument"]["labelled"]

# A connection that closes is resumed as well, and a write that it takes along is sent again.
with events.watch(max_await_time_ms=50) as stream:
    fail("failCommand", {"failCommands": ["getMore"], "closeConnection": True})
    events.insert_one({"closed": True})
    assert next(stream)["fullDocument"]["closed"]
count = events.count_documents({})
fail("onPrimaryTransactionalWrite", {"closeConnection": True})
events.insert_one({"retried": True})
fail("failCommand", {"failCommands": ["insert"], "errorCode": 91})
events.insert_one({"retried": True})
assert events.count_documents({}) == count + 2

# A transaction is run again after an error that passes, and its commit is sent again.
with client.start_session() as session:
    fail("failCommand", {"failCommands": ["commitTransaction"], "errorCode": 11602})

    def body(session):
        events.insert_one({"transaction": True}, session=session)

    session.with_transaction(body)
assert events.count_documents({"transaction": True}) == 1
client.close()
