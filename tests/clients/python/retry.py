"""Writes through a relay that loses the server's answer, and has the server killed and started again before the driver tries
again. Prints `kill` when that is to be done, and waits for a line when it has been."""

import socket
import sys
import threading

from pymongo import InsertOne, MongoClient, ReturnDocument, UpdateOne

host, port = sys.argv[1].split(":")


class Relay:
    """Forwards connections; loses the answer to a command whose bytes have `armed` in them, once."""

    def __init__(self):
        self.armed = None
        self.open = threading.Event()
        self.open.set()
        self.lost = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.connect, args=(client,), daemon=True).start()

    def connect(self, client):
        self.open.wait()
        try:
            server = socket.create_connection((host, int(port)))
        except OSError:
            return client.close()
        state = {"loses": False}
        threading.Thread(target=self.forward, args=(client, server, state, True), daemon=True).start()
        self.forward(server, client, state, False)

    def forward(self, source, target, state, is_request):
        try:
            while data := source.recv(1 << 16):
                if is_request and self.armed and self.armed in data:
                    self.armed, state["loses"] = None, True
                elif not is_request and state["loses"]:
                    # The server has answered, so it has written.
                    self.open.clear()
                    self.lost += 1
                    break
                target.sendall(data)
        except OSError:
            pass
        finally:
            lost = not is_request and state["loses"]
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            if lost:
                print("kill", flush=True)
                sys.stdin.readline()
                self.open.set()


relay = Relay()
client = MongoClient(f"mongodb://127.0.0.1:{relay.port}/?directConnection=true", serverSelectionTimeoutMS=60_000)
numbers = client.retry.numbers


def losing(command, write):
    relay.armed = command
    before = relay.lost
    result = write()
    assert relay.lost == before + 1, command
    return result


inserted = losing(b"insert\0", lambda: numbers.insert_many([{"_id": 1, "n": 0}, {"_id": 2, "n": 0}]))
assert inserted.inserted_ids == [1, 2]
updated = losing(b"update\0", lambda: numbers.update_one({"_id": 1}, {"$inc": {"n": 1}}))
assert (updated.matched_count, updated.modified_count) == (1, 1)
upserted = losing(b"update\0", lambda: numbers.update_one({"_id": 3}, {"$inc": {"n": 1}}, upsert=True))
assert upserted.upserted_id == 3
found = losing(
    b"findAndModify\0",
    lambda: numbers.find_one_and_update({"_id": 1}, {"$inc": {"n": 1}}, return_document=ReturnDocument.AFTER),
)
assert found == {"_id": 1, "n": 2}
bulk = losing(
    b"bulkWrite\0",
    lambda: client.bulk_write(
        [
            InsertOne({"_id": 4, "n": 0}, namespace="retry.numbers"),
            UpdateOne({"_id": 4}, {"$inc": {"n": 1}}, namespace="retry.numbers"),
        ],
        verbose_results=True,
    ),
)
assert (bulk.inserted_count, bulk.modified_count) == (1, 1)
deleted = losing(b"delete\0", lambda: numbers.delete_one({"_id": 2}))
assert deleted.deleted_count == 1

# A commit whose answer is lost.
with client.start_session() as session:
    session.start_transaction()
    numbers.insert_one({"_id": 5, "n": 0}, session=session)
    losing(b"commitTransaction\0", session.commit_transaction)

# Each was carried out once.
assert list(numbers.find().sort("_id")) == [{"_id": 1, "n": 2}, {"_id": 3, "n": 1}, {"_id": 4, "n": 1}, {"_id": 5, "n": 0}]
client.close()
