// Vercel's AI SDK as its documentation uses it: `openai(model)` or `anthropic(model)`, `generateText`, `streamText`.
// Reads jobs from standard input and writes a line of JSON for each; the first argument names the provider.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.CLIENTS_NODE_MODULES, "x.js"));
const { generateText, streamText, tool, stepCountIs, jsonSchema } = require("ai");
const provider = process.argv[2];
const named = require(`@ai-sdk/${provider}`)[provider];

const weather = tool({
  description: "Tell the weather of a city.",
  inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"] }),
  execute: async () => "sunny-4711",
});

async function run(kind, model) {
  const asked = { model: named(model), prompt: "hello", tools: { weather }, stopWhen: stepCountIs(3) };
  if (kind === "plain") return (await generateText(asked)).text;
  let failure = null;
  const result = streamText({ ...asked, onError: ({ error }) => { failure = error; } });
  let text = "";
  for await (const piece of result.textStream) text += piece;
  if (failure) throw failure;
  return text;
}

for (const { kind, model } of JSON.parse(readFileSync(0, "utf-8"))) {
  const said = { text: "", error: null };
  try {
    said.text = await run(kind, model);
  } catch (error) {
    said.error = `${error?.name ?? typeof error}: ${String(error?.message ?? JSON.stringify(error)).slice(0, 200)}`;
  }
  console.log(JSON.stringify(said));
}
