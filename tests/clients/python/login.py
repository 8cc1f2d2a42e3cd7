"""Makes the first user of a server that asks for a login, logs in by each mechanism, and makes users that may little: `watcher`,
who may watch one collection, and `writer`, who may write it."""

import sys

from pymongo import MongoClient
from pymongo.errors import OperationFailure

address = sys.argv[1]
PASSWORD = "pass, =w\u00f6rd/:@"


def connect(user=None, password=PASSWORD, **options):
    if user:
        options |= {"username": user, "password": password, "authSource": "admin"}
    return MongoClient(f"mongodb://{address}/?directConnection=true", serverSelectionTimeoutMS=30_000, **options)


def code(action):
    try:
        action()
    except OperationFailure as error:
        return error.code
    return None


with connect() as nobody:
    assert code(lambda: nobody.shop.orders.find_one()) == 13
    assert code(lambda: nobody.shop.command("createUser", "x", pwd="x", roles=[])) == 13
    nobody.admin.command("createUser", "root", pwd=PASSWORD, roles=["root"])
    assert code(lambda: nobody.admin.command("createUser", "second", pwd="x", roles=["root"])) == 13

for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1"):
    with connect("root", authMechanism=mechanism) as root:
        assert root.shop.orders.find_one() is None
        status = root.admin.command("connectionStatus")["authInfo"]
        assert status["authenticatedUsers"] == [{"user": "root", "db": "admin"}]
    for user, password in (("root", "wrong"), ("unknown", PASSWORD)):
        with connect(user, password, authMechanism=mechanism) as refused:
            assert code(lambda: refused.shop.orders.find_one()) == 18

with connect("root") as root:
    admin = root.admin
    admin.command("createUser", "old", pwd="old", roles=[], mechanisms=["SCRAM-SHA-1"])
    orders = {"db": "shop", "collection": "orders"}
    watch = [{"resource": orders, "actions": ["find", "changeStream"]}]
    admin.command("createRole", "watchOrders", privileges=watch, roles=[])
    admin.command("createUser", "watcher", pwd="w", roles=["watchOrders"])
    admin.command("createUser", "writer", pwd="w", roles=[{"role": "readWrite", "db": "shop"}])
    users = admin.command("usersInfo", 1)["users"]
    assert [user["user"] for user in users] == ["old", "root", "watcher", "writer"]
    assert code(lambda: root.tailwater.users.find_one()) == 13
    assert "tailwater" not in root.list_database_names()

# The driver takes the mechanism that the user has.
with connect("old", "old") as old:
    old.admin.command("ping")
with connect("old", "old", authMechanism="SCRAM-SHA-256") as old:
    assert code(lambda: old.admin.command("ping")) == 18

with connect("watcher", "w") as watcher:
    assert watcher.shop.orders.find_one() is None
    assert code(lambda: watcher.shop.orders.insert_one({})) == 13
    assert code(lambda: watcher.shop.people.watch()) == 13
    assert code(lambda: watcher.shop.watch()) == 13
    assert code(lambda: watcher.watch()) == 13
    assert watcher.list_database_names() == []
with connect("writer", "w") as writer, writer.start_session() as session:
    writer.shop.people.insert_one({"_id": 1})
    with session.start_transaction():
        writer.shop.people.update_one({"_id": 1}, {"$set": {"a": 1}}, session=session)
    assert code(lambda: writer.blog.posts.insert_one({})) == 13
    assert writer.list_database_names() == ["shop"]
