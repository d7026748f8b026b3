// One scenario of the official Node client of OpenAI's API against a running server, named on the
// command line. Prints what happened as one JSON object; tests/e2e/test_openai_node.py judges it.
const { createRequire } = require('node:module');
const load = createRequire(process.env.PENSIEVE_E2E_NODE + '/');
const OpenAI = load('openai');

const [scenario, url, apiKey, given] = process.argv.slice(2);
const { tools, system } = JSON.parse(given);
const client = new (OpenAI.default ?? OpenAI)({ baseURL: url + '/v1', apiKey, maxRetries: 0 });
const ask = (text, more = {}) => ({
  model: 'gpt-anything',
  messages: [{ role: 'user', content: text }],
  temperature: 0,
  ...more,
});

// The name of the client's own class, and the fields it read from the answer.
async function failure(promise) {
  try {
    await promise;
  } catch (e) {
    return { name: e.constructor.name, status: e.status, code: e.code };
  }
  return { name: 'none' };
}

const scenarios = {
  async chat() {
    const whole = await client.chat.completions.create(ask('hello'));
    const stream = await client.chat.completions.create(
      ask('hello', { stream: true, stream_options: { include_usage: true } }),
    );
    let streamed = '';
    let pieces = 0;
    let usage;
    for await (const chunk of stream) {
      const piece = chunk.choices[0]?.delta?.content ?? '';
      streamed += piece;
      if (piece) pieces += 1;
      if (chunk.usage) usage = chunk.usage;
    }
    return { whole: whole.choices[0].message.content, streamed, pieces, usage };
  },
  async tools() {
    const runner = client.chat.completions.stream({
      model: 'm',
      temperature: 0,
      tools,
      messages: [
        { role: 'system', content: system },
        { role: 'user', content: 'list the files in src' },
      ],
    });
    const choice = (await runner.finalChatCompletion()).choices[0];
    return { finish_reason: choice.finish_reason, ...choice.message.tool_calls[0].function };
  },
  async schema() {
    const schema = {
      type: 'object',
      properties: { name: { type: 'string' }, age: { type: 'integer' } },
      required: ['name', 'age'],
      additionalProperties: false,
    };
    const got = await client.chat.completions.create(
      ask('json with name Anna and age 31', {
        response_format: { type: 'json_schema', json_schema: { name: 'person', strict: true, schema } },
      }),
    );
    return JSON.parse(got.choices[0].message.content);
  },
  async completion() {
    const got = await client.completions.create({ model: 'm', prompt: '1, 2, 3,', logprobs: 1, temperature: 0 });
    return got.choices[0];
  },
  bad_request: () => failure(client.chat.completions.create(ask('hello', { n: 3 }))),
  unauthorised: () => failure(client.chat.completions.create(ask('hello'))),
  not_found: () => failure(client.models.retrieve('no-such-model')),
  crowded: () => failure(client.chat.completions.create(ask('hello'))),
};

scenarios[scenario]().then(
  (result) => process.stdout.write(JSON.stringify(result)),
  (e) => {
    process.stderr.write(String(e.stack ?? e));
    process.exit(1);
  },
);
