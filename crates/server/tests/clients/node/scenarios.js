// MQTT.js against a running server: scenarios.js NAME URL. Each runs with MQTT 3.1.1 and 5.
// Over TLS, CA_FILE says whom to trust, and CERT_FILE and KEY_FILE what to show.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import mqtt from "mqtt";

const DEADLINE = 60_000; // Milliseconds anything may take.
const [name, url] = process.argv.slice(2);
const { CA_FILE, CERT_FILE, KEY_FILE } = process.env;
const files = Object.entries({ ca: CA_FILE, cert: CERT_FILE, key: KEY_FILE }).filter(([, path]) => path);
const tls = Object.fromEntries(files.map(([option, path]) => [option, readFileSync(path)]));

/** A connected client; `next()` is its next message. */
async function connect(protocolVersion, options = {}) {
	const properties = protocolVersion === 5 && options.clean === false ? { sessionExpiryInterval: 3600 } : undefined;
	const client = mqtt.connect(url, {
		protocolVersion,
		reconnectPeriod: 0,
		properties,
		...tls,
		...options,
	});
	const messages = [];
	const waiting = [];
	client.on("message", (topic, payload, packet) => {
		const message = { topic, text: payload.toString(), ...packet };
		const waiter = waiting.shift();
		if (waiter) waiter(message);
		else messages.push(message);
	});
	client.next = () => messages.length ? Promise.resolve(messages.shift()) : new Promise((done) => waiting.push(done));
	const connack = await new Promise((done, fail) => client.once("connect", done).once("error", fail));
	client.sessionPresent = connack.sessionPresent;
	return client;
}

const scenarios = {
	async story(version) {
		const writer = await connect(version);
		await writer.publishAsync("dog/123", '{"name":"Rex"}', { qos: 1, retain: true });
		const reader = await connect(version);
		await reader.subscribeAsync("dog/#", { qos: 0 });
		const first = await reader.next();
		assert.deepEqual([first.topic, first.retain, first.text], ["dog/123", true, '{"id":"123","name":"Rex"}']);
		await writer.publishAsync("dog/123", '{"name":"Fido"}', { qos: 1, retain: true });
		const update = await reader.next();
		assert.deepEqual([update.retain, update.text], [false, '{"id":"123","name":"Fido"}']);
		await writer.publishAsync("dog/123", "barks", { qos: 0 });
		assert.equal((await reader.next()).text, "barks");
		await writer.publishAsync("dog/123", "", { qos: 2, retain: true });
		assert.equal((await reader.next()).text, "");
		const late = await connect(version);
		await late.subscribeAsync("dog/#", { qos: 0 });
		await writer.publishAsync("dog/last", "nothing is retained", { qos: 1 });
		assert.equal((await late.next()).topic, "dog/last");
	},

	async qos(version) {
		const reader = await connect(version);
		const writer = await connect(version);
		for (const granted of [0, 1, 2]) {
			await reader.subscribeAsync(`qos/${granted}`, { qos: granted });
			for (const published of [0, 1, 2]) {
				await writer.publishAsync(`qos/${granted}`, `${published}`, { qos: published });
				const seen = await reader.next();
				assert.deepEqual([seen.qos, seen.text], [Math.min(granted, published), `${published}`]);
			}
		}
	},

	async session(version) {
		const options = { clientId: `session-${version}`, clean: false };
		const before = await connect(version, options);
		assert.equal(before.sessionPresent, false);
		await before.subscribeAsync("dog/#", { qos: 2 });
		await before.endAsync();
		const writer = await connect(version);
		for (let number = 0; number < 20; number++) {
			await writer.publishAsync("dog/1", `${number}`, { qos: 1 });
		}
		const after = await connect(version, { ...options, resubscribe: false });
		assert.equal(after.sessionPresent, true);
		for (let number = 0; number < 20; number++) {
			assert.equal((await after.next()).text, `${number}`);
		}
	},

	async will(version) {
		const reader = await connect(version);
		await reader.subscribeAsync("will", { qos: 2 });
		const mortal = await connect(version, { will: { topic: "will", payload: "gone", qos: 2, retain: false } });
		mortal.stream.destroy();
		assert.equal((await reader.next()).text, "gone");
	},

	async properties(version) {
		if (version !== 5) return;
		const reader = await connect(5);
		const writer = await connect(5);
		await reader.subscribeAsync("mood", { qos: 1, rap: true, properties: { subscriptionIdentifier: 42 } });
		const sent = {
			contentType: "text/x-mood",
			responseTopic: "answer",
			correlationData: Buffer.from([0, 255]),
			payloadFormatIndicator: true,
			messageExpiryInterval: 1000,
			userProperties: { a: ["1", "2"] },
		};
		await writer.publishAsync("mood", "sunny", { qos: 1, retain: true, properties: sent });
		const { retain, properties } = await reader.next();
		assert.deepEqual([retain, properties.subscriptionIdentifier], [true, 42]);
		assert.deepEqual([properties.contentType, properties.responseTopic], ["text/x-mood", "answer"]);
		assert.deepEqual([properties.correlationData, properties.payloadFormatIndicator], [Buffer.from([0, 255]), true]);
		assert.deepEqual({ ...properties.userProperties }, { a: ["1", "2"] });
		assert.ok(properties.messageExpiryInterval > 0 && properties.messageExpiryInterval <= 1000);
	},

	async refusal(version) {
		const writer = await connect(version);
		const publish = writer.publishAsync("dog/1", '{"age":"three"}', { qos: 1, retain: true });
		if (version === 5) await assert.rejects(publish, { code: 0x99 });
		else await publish;
		const reader = await connect(version);
		await reader.subscribeAsync("dog/#", { qos: 0 });
		await writer.publishAsync("dog/1", '{"age":3}', { qos: 1, retain: true });
		assert.deepEqual(JSON.parse((await reader.next()).text), { id: "1", age: 3 });
		await writer.publishAsync("dog/1", "", { qos: 1, retain: true });
	},

	async stream(version) {
		const reader = await connect(version);
		const writer = await connect(version);
		await reader.subscribeAsync("stream/#", { qos: 2 });
		for (const qos of [0, 1, 2]) {
			for (let number = 0; number < 1000; number++) {
				writer.publish(`stream/${number % 10}`, `${number}`, { qos });
			}
			for (let number = 0; number < 1000; number++) {
				assert.equal((await reader.next()).text, `${number}`);
			}
		}
	},
};

setTimeout(() => {
	console.error(`${name} waited in vain`);
	process.exit(1);
}, DEADLINE);
for (const version of [4, 5]) await scenarios[name](version);
process.exit(0);
