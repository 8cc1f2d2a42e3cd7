"""Says whether a server can be used: over an encrypted connection, with an authority's certificate by which the server's is
checked, and perhaps a certificate of the client."""

import sys

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure

address, *files = sys.argv[1:]
options = dict(zip(("tlsCAFile", "tlsCertificateKeyFile"), files))
if files:
    options["tls"] = True
client = MongoClient(f"mongodb://{address}/?directConnection=true", serverSelectionTimeoutMS=3_000, **options)
try:
    client.admin.command("ping")
    client.shop.orders.insert_one({"text": "x" * 1_000_000})
    assert len(client.shop.orders.find_one()["text"]) == 1_000_000
    print("yes")
except ConnectionFailure:
    print("no")
client.close()
