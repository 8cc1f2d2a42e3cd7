// Answers cases from stdin with mingo, one line of Extended JSON for each; see tests/oracles/main.rs for their form.
import { createInterface } from 'node:readline';
import { Aggregator, Query, updateOne } from 'mingo';

/** Numbers are plain in the cases; what JSON has no form for is wrapped. */
function decode(value) {
  if (Array.isArray(value)) return value.map(decode);
  if (value === null || typeof value !== 'object') return value;
  if (value.$date !== undefined && value.$date.$numberLong !== undefined) return new Date(Number(value.$date.$numberLong));
  if (typeof value.$numberDouble === 'string') return Number(value.$numberDouble);
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, decode(field)]));
}

function encode(value) {
  if (value === undefined) return undefined;
  if (typeof value === 'number' && !Number.isFinite(value)) return { $numberDouble: String(value) };
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map((element) => encode(element) ?? null);
  if (value === null || typeof value !== 'object') return value;
  if (value instanceof Date) return { $date: { $numberLong: String(value.getTime()) } };
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, encode(field)]));
}

const answers = {
  find({ filter, documents }) {
    const query = new Query(filter);
    return documents.filter((document) => query.test(document)).map((document) => document._id);
  },
  update({ filter, update, arrayFilters, documents }) {
    updateOne(documents, filter, update, { arrayFilters });
    return documents;
  },
  project({ filter, projection, documents }) {
    return new Query(filter).find(documents, projection).all();
  },
  sort({ sort, skip, limit, documents }) {
    return new Query({}).find(documents).sort(sort).skip(skip).limit(limit).all().map((document) => document._id);
  },
  aggregate({ pipeline, documents, others }) {
    return new Aggregator(pipeline, { collectionResolver: () => others }).run(documents);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { kind, ...rest } = JSON.parse(line);
  let answer;
  try {
    answer = { documents: answers[kind](decode(rest)).map((document) => encode(document)) };
  } catch (error) {
    answer = { error: String(error.message ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
