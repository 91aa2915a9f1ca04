// Real clients against a running server: SEAMOUNT_URL is its address, SEAMOUNT_KEY its key. Started by run.py.
//
// What is compared is what a program sees: streams against whole answers, one client against another, and errors as each client's own.
import assert from "node:assert/strict";
import test from "node:test";
import OpenAI, { AuthenticationError, BadRequestError, NotFoundError } from "openai";
import { ChatOpenAI, OpenAI as OpenAIText, OpenAIEmbeddings } from "@langchain/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embed, generateText, jsonSchema, stepCountIs, streamText, tool } from "ai";

const root = process.env.SEAMOUNT_URL;
const apiKey = process.env.SEAMOUNT_KEY;
const baseURL = root + "/v1";
const model = "seamount-coder";
const openai = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const messages = [
    { role: "system", content: "You write Python." },
    { role: "user", content: "Write a loop." },
];
const greedy = { model, messages, temperature: 0, max_tokens: 12 };

async function native(path, body) {
    const headers = { "Content-Type": "application/json", Authorization: "Bearer " + apiKey };
    const response = await fetch(root + path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
    return response.json();
}

async function idle() {
    for (let i = 0; i < 600; i++) {
        if ((await native("/slots")).every((slot) => !slot.is_processing)) return true;
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
    return false;
}

async function wholeChat() {
    const answer = await openai.chat.completions.create(greedy);
    return answer.choices[0].message.content;
}

test("openai: models, chat, usage", async () => {
    const list = await openai.models.list();
    assert.equal(list.data[0].id, model);
    const answer = await openai.chat.completions.create(greedy);
    assert.equal(answer.object, "chat.completion");
    assert.equal(answer.choices[0].message.role, "assistant");
    assert.ok(["stop", "length"].includes(answer.choices[0].finish_reason));
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
});

test("openai: a stream says what the answer says", async () => {
    const stream = await openai.chat.completions.create({ ...greedy, stream: true, stream_options: { include_usage: true } });
    let text = "", usage = null;
    const reasons = [];
    for await (const chunk of stream) {
        text += chunk.choices[0]?.delta?.content ?? "";
        if (chunk.choices.length) reasons.push(chunk.choices[0].finish_reason);
        usage = chunk.usage ?? usage;
    }
    assert.equal(text, await wholeChat());
    assert.ok(reasons.slice(0, -1).every((reason) => reason === null));
    assert.ok(["stop", "length"].includes(reasons.at(-1)));
    assert.ok(usage.completion_tokens > 0);
    const helper = openai.chat.completions.stream(greedy);
    assert.equal(await helper.finalContent(), text);
});

test("openai: several choices, log-probabilities, seeds", async () => {
    const body = { ...greedy, temperature: 1, seed: 5, n: 3, logprobs: true, top_logprobs: 2 };
    const [one, two] = [await openai.chat.completions.create(body), await openai.chat.completions.create(body)];
    assert.deepEqual(one.choices.map((c) => c.message.content), two.choices.map((c) => c.message.content));
    assert.equal(one.choices.length, 3);
    for (const entry of one.choices[0].logprobs.content) {
        assert.ok(entry.logprob <= 0);
        assert.equal(entry.top_logprobs.length, 2);
    }
});

test("openai: completions of a list, of tokens, with a suffix, in a stream", async () => {
    const body = { model, temperature: 0, max_tokens: 8 };
    const list = await openai.completions.create({ ...body, prompt: ["def ", "for i in range("] });
    const second = await openai.completions.create({ ...body, prompt: "for i in range(" });
    assert.equal(list.choices[1].text, second.choices[0].text);
    const { tokens } = await native("/tokenize", { content: "for i in range(", add_special: true });
    const ids = await openai.completions.create({ ...body, prompt: tokens });
    assert.equal(ids.choices[0].text, second.choices[0].text);
    const gap = await openai.completions.create({ ...body, prompt: "def add(a, b):\n    return ", suffix: "\n\nprint(add(1, 2))\n" });
    const infill = { input_prefix: "def add(a, b):\n    return ", input_suffix: "\n\nprint(add(1, 2))\n", temperature: 0, n_predict: 8 };
    assert.equal(gap.choices[0].text, (await native("/infill", infill)).content);
    let text = "";
    for await (const chunk of await openai.completions.create({ ...body, prompt: "for i in range(", stream: true }))
        text += chunk.choices[0].text;
    assert.equal(text, second.choices[0].text);
});

test("openai: embeddings in both encodings", async () => {
    const packed = await openai.embeddings.create({ model, input: ["def f():", "class A:"] });
    const plain = await openai.embeddings.create({ model, input: ["def f():", "class A:"], encoding_format: "float" });
    assert.equal(packed.data.length, 2);
    packed.data[1].embedding.forEach((x, i) => assert.ok(Math.abs(x - plain.data[1].embedding[i]) < 1e-6));
});

test("openai: errors are the client's own", async () => {
    const long = { ...greedy, messages: [{ role: "user", content: "word ".repeat(3000) }] };
    await assert.rejects(openai.chat.completions.create(long), (error) => {
        assert.ok(error instanceof BadRequestError);
        assert.match(error.message, /maximum context length is \d+ tokens/);
        return error.status === 400 && error.type === "invalid_request_error";
    });
    await assert.rejects(openai.chat.completions.create({ ...long, stream: true }), BadRequestError);
    const stranger = new OpenAI({ baseURL, apiKey: "wrong", maxRetries: 0 });
    await assert.rejects(stranger.models.list(), AuthenticationError);
    const astray = new OpenAI({ baseURL: root + "/v2", apiKey, maxRetries: 0 });
    await assert.rejects(astray.models.list(), NotFoundError);
});

test("openai: an aborted stream ends its work", async () => {
    const stream = await openai.chat.completions.create({ ...greedy, max_tokens: 400, ignore_eos: true, stream: true });
    for await (const chunk of stream) if (chunk.choices[0].delta.content) break; // leaving the loop aborts
    assert.ok(await idle());
});

test("many at once get what one gets alone", async () => {
    const prompts = Array.from({ length: 16 }, (_, i) => `def function_${i}(`);
    const ask = async (prompt) => (await openai.completions.create({ model, prompt, temperature: 0, max_tokens: 8 })).choices[0].text;
    const together = await Promise.all(prompts.map(ask));
    for (const [i, prompt] of prompts.entries()) assert.equal(together[i], await ask(prompt));
});

const langchain = { model, apiKey, temperature: 0, maxTokens: 12, maxRetries: 0, configuration: { baseURL } };
const conversation = messages.map(({ role, content }) => [role, content]);

test("langchain: chat, whole and streamed, with usage", async () => {
    const chat = new ChatOpenAI({ ...langchain, streamUsage: true });
    const answer = await chat.invoke(conversation);
    assert.equal(answer.content, await wholeChat());
    assert.ok(answer.usage_metadata.output_tokens > 0);
    let whole = null;
    for await (const chunk of await chat.stream(conversation)) whole = whole ? whole.concat(chunk) : chunk;
    assert.equal(whole.content, answer.content);
    assert.equal(whole.usage_metadata.total_tokens, answer.usage_metadata.total_tokens);
    assert.equal(whole.response_metadata.finish_reason, answer.response_metadata.finish_reason);
});

test("langchain: texts in a batch, embeddings", async () => {
    const text = new OpenAIText(langchain);
    const { generations } = await text.generate(["def ", "for i in range("]);
    const alone = await openai.completions.create({ model, prompt: "for i in range(", temperature: 0, max_tokens: 12 });
    assert.equal(generations[1][0].text, alone.choices[0].text);
    const embeddings = new OpenAIEmbeddings(langchain);
    const vectors = await embeddings.embedDocuments(["def f():", "class A:", "import os"]);
    assert.deepEqual(vectors.map((v) => v.length), [256, 256, 256]);
});

const sdk = createOpenAICompatible({ name: "seamount", baseURL, apiKey, includeUsage: true });

test("ai sdk: generateText and streamText agree", async () => {
    const request = { model: sdk(model), temperature: 0, maxOutputTokens: 12, maxRetries: 0, system: messages[0].content,
                      prompt: messages[1].content };
    const whole = await generateText(request);
    assert.equal(whole.text, await wholeChat());
    assert.ok(whole.usage.outputTokens > 0);
    const stream = streamText(request);
    let text = "";
    for await (const part of stream.textStream) text += part;
    assert.equal(text, whole.text);
    assert.equal(await stream.finishReason, whole.finishReason);
    assert.equal((await stream.usage).totalTokens, whole.usage.totalTokens);
});

// Thoughts: a grammar makes a model write some that has none.
const thinks = { reasoning_format: "deepseek", grammar: 'root ::= "<think>\\nIt is 4.\\n</think>\\n\\nFour."' };

test("thoughts: openai's and ai sdk's, whole and streamed", async () => {
    const whole = await openai.chat.completions.create({ ...greedy, messages, max_tokens: 60, ...thinks });
    const { content, reasoning_content } = whole.choices[0].message;
    assert.deepEqual([content, reasoning_content], ["Four.", "It is 4."]);
    assert.ok(whole.usage.completion_tokens_details.reasoning_tokens > 5);
    const request = { model: sdk(model), temperature: 0, maxOutputTokens: 60, maxRetries: 0, prompt: "2 + 2", providerOptions: { seamount: thinks } };
    const one = await generateText(request), stream = streamText(request);
    assert.deepEqual([one.text, one.reasoningText], ["Four.", "It is 4."]);
    assert.deepEqual([await stream.text, await stream.reasoningText], ["Four.", "It is 4."]);
    assert.equal((await stream.usage).reasoningTokens, one.usage.reasoningTokens);
});

test("ai sdk: completion and embedding models", async () => {
    const whole = await generateText({ model: sdk.completionModel(model), temperature: 0, maxOutputTokens: 8, maxRetries: 0, prompt: "def " });
    assert.equal(typeof whole.text, "string");
    const { embedding } = await embed({ model: sdk.textEmbeddingModel(model), value: "def f():", maxRetries: 0 });
    assert.equal(embedding.length, 256);
});

// Functions: the model is small, but it can only write calls that the schema allows. All ask with the same words, which a slot then
// holds already.
const weather = {
    type: "object", properties: { city: { enum: ["Rome", "Oslo"] }, days: { type: "integer", minimum: 1, maximum: 9 } },
    required: ["city", "days"], additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "weather", description: "The weather of a city", parameters: weather } }];
const oneCall = { ...greedy, max_tokens: 80, tools, tool_choice: "required", parallel_tool_calls: false };

function checkWeather({ city, days, ...rest }) {
    assert.ok(["Rome", "Oslo"].includes(city));
    assert.ok(days >= 1 && days <= 9);
    assert.deepEqual(rest, {});
}

test("openai: a call, its result, and the same in a stream", async () => {
    const { choices } = await openai.chat.completions.create(oneCall);
    const { message, finish_reason } = choices[0];
    const [call] = message.tool_calls;
    assert.equal(finish_reason, "tool_calls");
    assert.equal(call.function.name, "weather");
    checkWeather(JSON.parse(call.function.arguments));
    const next = [...messages, message, { role: "tool", tool_call_id: call.id, content: "rain" }];
    const answer = await openai.chat.completions.create({ ...greedy, messages: next, tools, tool_choice: "none" });
    assert.equal(answer.choices[0].message.tool_calls, undefined);
    const names = [];
    const stream = openai.chat.completions.stream(oneCall);
    stream.on("tool_calls.function.arguments.done", (event) => names.push([event.index, event.name, event.arguments]));
    const streamed = await stream.finalChatCompletion();
    assert.deepEqual(names, [[0, "weather", call.function.arguments]]);
    assert.equal(streamed.choices[0].message.tool_calls[0].function.arguments, call.function.arguments);
    assert.equal(streamed.choices[0].finish_reason, "tool_calls");
});

test("openai: helpers that parse and run", async () => {
    const strict = [{ type: "function", function: { ...tools[0].function, strict: true } }];
    const parsed = await openai.chat.completions.parse({ ...oneCall, tools: strict });
    checkWeather(parsed.choices[0].message.tool_calls[0].function.parsed_arguments);
    for (const stream of [false, true]) {
        const asked = [];
        const run = { type: "function", function: { ...tools[0].function, parse: JSON.parse, function: (given) => asked.push(given) && "rain" } };
        const runner = openai.chat.completions.runTools({ ...oneCall, tools: [run], stream }, { maxChatCompletions: 2 });
        await runner.done();
        assert.equal(asked.length, 2);
        asked.forEach(checkWeather);
        assert.equal(runner.messages.filter((m) => m.role === "tool").length, 2);
    }
});

test("openai: a schema beyond grammars is refused by its place where it is strict", async () => {
    const odd = { type: "function", function: { name: "odd", parameters: { type: "object", properties: { x: { unevaluatedItems: false } } } } };
    const taken = await openai.chat.completions.create({ ...oneCall, tools: [odd] });
    assert.equal(taken.choices[0].message.tool_calls[0].function.name, "odd");
    odd.function.strict = true;
    await assert.rejects(openai.chat.completions.create({ ...oneCall, tools: [odd] }), (error) => {
        assert.match(error.message, /"odd".*#\/properties\/x/);
        return error instanceof BadRequestError;
    });
});

test("langchain: tools, whole and streamed, and structured output", async () => {
    const chat = new ChatOpenAI({ ...langchain, maxTokens: 80 });
    const bound = chat.bindTools(tools, { tool_choice: "any", parallel_tool_calls: false });
    const answer = await bound.invoke(conversation);
    assert.equal(answer.tool_calls.length, 1);
    assert.equal(answer.tool_calls[0].name, "weather");
    checkWeather(answer.tool_calls[0].args);
    let whole = null;
    for await (const chunk of await bound.stream(conversation)) whole = whole ? whole.concat(chunk) : chunk;
    assert.deepEqual(whole.tool_calls.map(({ name, args }) => [name, args]), answer.tool_calls.map(({ name, args }) => [name, args]));
    const result = { role: "tool", tool_call_id: answer.tool_calls[0].id, content: "rain" };
    const next = await bound.invoke([...messages, answer, result]);
    checkWeather(next.tool_calls[0].args);
    for (const method of ["functionCalling", "jsonSchema"])
        checkWeather(await chat.withStructuredOutput({ title: "weather", ...weather }, { method }).invoke(conversation));
});

test("ai sdk: tools in steps, whole and streamed", async () => {
    const asked = [];
    const request = {
        model: sdk(model), temperature: 0, maxOutputTokens: 80, maxRetries: 0, system: messages[0].content, prompt: messages[1].content,
        toolChoice: "required",
        providerOptions: { seamount: { parallel_tool_calls: false } }, stopWhen: stepCountIs(2),
        tools: { weather: tool({ description: "The weather of a city", inputSchema: jsonSchema(weather), execute: (given) => asked.push(given) && "rain" }) },
    };
    const whole = await generateText(request);
    assert.equal(whole.steps.length, 2);
    assert.equal(whole.finishReason, "tool-calls");
    const calls = whole.steps.map((step) => step.toolCalls.map((call) => [call.toolName, call.input]));
    const stream = streamText(request);
    for await (const part of stream.fullStream) assert.notEqual(part.type, "error", String(part.error));
    assert.deepEqual((await stream.steps).map((step) => step.toolCalls.map((call) => [call.toolName, call.input])), calls);
    assert.equal(asked.length, 4);
    asked.forEach(checkWeather);
});

test("an editor's infill: warm up, then fill", async () => {
    const body = {
        input_prefix: "import math\n\ndef area(radius):\n", input_suffix: "\n\nprint(area(2))\n", prompt: "    return ",
        input_extra: [{ filename: "shapes.py", text: "class Shape:\n    pass\n" }], top_k: 40, top_p: 0.99, temperature: 0, stream: false,
        n_indent: 4, samplers: ["top_k", "top_p", "infill"], cache_prompt: true, t_max_prompt_ms: 500, t_max_predict_ms: 2500,
        response_fields: ["content", "timings/prompt_n", "timings/predicted_n", "truncated", "tokens_cached"],
    };
    const warm = await native("/infill", { ...body, n_predict: 0 });
    assert.equal(warm.content, "");
    const filled = await native("/infill", { ...body, n_predict: 16 });
    assert.equal(typeof filled.content, "string");
    assert.ok(filled.tokens_cached > 0);
    assert.equal(filled["timings/prompt_n"], 1);
});
