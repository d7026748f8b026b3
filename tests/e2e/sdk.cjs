// One scenario of the official Node client against a running server, named on the command line.
// Prints what happened as one JSON object; tests/e2e/test_node_sdk.py judges it.
const { createRequire } = require('node:module');
const load = createRequire(process.env.PENSIEVE_E2E_NODE + '/');
const Anthropic = load('@anthropic-ai/sdk');

const [scenario, baseURL, apiKey] = process.argv.slice(2);
const client = new (Anthropic.default ?? Anthropic)({ baseURL, apiKey, maxRetries: 0 });
const ask = (text, more = {}) => ({
  model: 'a-claude-model',
  max_tokens: 64,
  messages: [{ role: 'user', content: text }],
  temperature: 0,
  ...more,
});

// The name of the client's own class, and the fields it read from the answer.
async function failure(promise) {
  try {
    await promise;
  } catch (e) {
    return { name: e.constructor.name, status: e.status, type: e.type, requestID: e.requestID };
  }
  return { name: 'none' };
}

const scenarios = {
  create: () => client.messages.create(ask('list the files in src')),
  async stream() {
    let text = '';
    let pieces = 0;
    const stream = client.messages.stream(ask('count to 12'));
    stream.on('text', (piece) => {
      text += piece;
      pieces += 1;
    });
    const final = await stream.finalMessage();
    return { text, pieces, final };
  },
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return { ids };
  },
  bad_request: () => failure(client.messages.create(ask('hello', { max_tokens: 0 }))),
  unauthorised: () => failure(client.messages.create(ask('hello'))),
  not_found: () => failure(client.models.retrieve('no-such-model')),
  too_large: () => failure(client.messages.create(ask('a'.repeat(32 * 1024 * 1024 + 1)))),
  overloaded: () => failure(client.messages.create(ask('hello'))),
};

scenarios[scenario]().then(
  (result) => process.stdout.write(JSON.stringify(result)),
  (e) => {
    process.stderr.write(String(e.stack ?? e));
    process.exit(1);
  },
);
