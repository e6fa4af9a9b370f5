// OpenAI's and Anthropic's own SDKs for Node, with their defaults: Responses and Messages, a tool called in a loop.
// Reads jobs from standard input and writes a line of JSON for each; the first argument names the provider.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const require = createRequire(join(process.env.CLIENTS_NODE_MODULES, "x.js"));
const provider = process.argv[2];
const RESULT = "sunny-4711";
const SCHEMA = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

async function openai(kind, model) {
  const client = new (require("openai").OpenAI)();
  const tools = [{ type: "function", name: "weather", strict: false, parameters: SCHEMA }];
  const input = [{ role: "user", content: "hello" }];
  for (;;) {
    let response = null;
    if (kind === "plain") {
      response = await client.responses.create({ model, input, tools });
    } else {
      response = await client.responses.stream({ model, input, tools }).finalResponse();
    }
    const calls = response.output.filter((item) => item.type === "function_call");
    if (!calls.length) return response.output_text;
    input.push(...response.output);
    for (const call of calls) input.push({ type: "function_call_output", call_id: call.call_id, output: RESULT });
  }
}

async function anthropic(kind, model) {
  const client = new (require("@anthropic-ai/sdk").Anthropic)();
  const tools = [{ name: "weather", input_schema: SCHEMA }];
  const messages = [{ role: "user", content: "hello" }];
  for (;;) {
    const asked = { model, messages, tools, max_tokens: 99 };
    const message =
      kind === "plain" ? await client.messages.create(asked) : await client.messages.stream(asked).finalMessage();
    const uses = message.content.filter((block) => block.type === "tool_use");
    if (!uses.length) return message.content.map((block) => block.text ?? "").join("");
    messages.push({ role: "assistant", content: message.content });
    const results = uses.map((use) => ({ type: "tool_result", tool_use_id: use.id, content: RESULT }));
    messages.push({ role: "user", content: results });
  }
}

const run = { openai, anthropic }[provider];
for (const { kind, model } of JSON.parse(readFileSync(0, "utf-8"))) {
  const said = { text: "", error: null };
  try {
    said.text = await run(kind, model);
  } catch (error) {
    said.error = `${error?.constructor?.name ?? typeof error}: ${String(error?.message).slice(0, 200)}`;
  }
  console.log(JSON.stringify(said));
}
