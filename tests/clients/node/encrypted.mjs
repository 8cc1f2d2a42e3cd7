// Says whether a server can be used: over an encrypted connection, with an authority's certificate by which the server's is
// checked, and perhaps a certificate of the client.
import { MongoClient, MongoServerSelectionError } from 'mongodb';

const [address, tlsCAFile, tlsCertificateKeyFile] = process.argv.slice(2);
const client = new MongoClient(`mongodb://${address}/?directConnection=true`, {
  serverSelectionTimeoutMS: 3_000,
  ...(tlsCAFile && { tls: true, tlsCAFile }),
  ...(tlsCertificateKeyFile && { tlsCertificateKeyFile }),
});
try {
  await client.db('admin').command({ ping: 1 });
  process.stdout.write('yes\n');
} catch (error) {
  if (!(error instanceof MongoServerSelectionError)) throw error;
  process.stdout.write('no\n');
}
await client.close();
