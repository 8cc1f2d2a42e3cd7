// Makes the first user of a server that asks for a login, logs in by each mechanism, and is refused what a user may not.
import assert from 'node:assert/strict';
import { MongoClient } from 'mongodb';

const address = process.argv[2];
const password = 'pass, =w\u00f6rd/:@';

async function as(auth, options, action) {
  const client = new MongoClient(`mongodb://${address}/?directConnection=true`, {
    serverSelectionTimeoutMS: 30_000,
    ...(auth && { auth, authSource: 'admin' }),
    ...options,
  });
  try {
    return await action(client);
  } finally {
    await client.close();
  }
}

const code = (action) => action.then(() => null, (error) => error.code);

await as(null, {}, async (nobody) => {
  assert.equal(await code(nobody.db('shop').collection('orders').findOne()), 13);
  await nobody.db('admin').command({ createUser: 'root', pwd: password, roles: ['root'] });
  assert.equal(await code(nobody.db('shop').collection('orders').findOne()), 13);
});

for (const authMechanism of ['SCRAM-SHA-256', 'SCRAM-SHA-1', undefined]) {
  const options = authMechanism ? { authMechanism } : {};
  const find = (client) => code(client.db('shop').collection('orders').findOne());
  assert.equal(await as({ username: 'root', password }, options, find), null);
  assert.equal(await as({ username: 'root', password: 'wrong' }, options, find), 18);
  assert.equal(await as({ username: 'unknown', password }, options, find), 18);
}

await as({ username: 'root', password }, {}, async (root) => {
  const resource = { db: 'shop', collection: 'orders' };
  const privileges = [{ resource, actions: ['find', 'changeStream'] }];
  await root.db('admin').command({ createRole: 'watchOrders', privileges, roles: [] });
  await root.db('admin').command({ createUser: 'watcher', pwd: 'w', roles: ['watchOrders'] });
});

await as({ username: 'watcher', password: 'w' }, {}, async (watcher) => {
  const shop = watcher.db('shop');
  assert.equal(await shop.collection('orders').findOne(), null);
  assert.equal(await code(shop.collection('orders').insertOne({})), 13);
  assert.equal(await code(shop.collection('people').watch().tryNext()), 13);
  assert.equal(await code(watcher.watch().tryNext()), 13);
});
