// MQTT.js in a page of a real browser against a running server: browser.js PORT USER PASSWORD.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [port, username, password] = process.argv.slice(2);
const library = new URL("./node_modules/mqtt/dist/mqtt.min.js", import.meta.url).pathname;
const folder = await mkdtemp(join(tmpdir(), "browser-"));
const browser = await chromium.launchPersistentContext(folder, {
	executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
	headless: true,
	timeout: 60_000, // Milliseconds.
	args: [
		"--no-sandbox",
		"--disable-gpu",
		"--disable-quic",
		"--no-first-run",
		"--disable-background-networking",
		"--disable-component-update",
		"--disable-sync",
		"--disable-features=LocalNetworkAccessChecks", // Nobody is here to allow it.
		"--disable-dev-shm-usage",
	],
});
try {
	const page = await browser.newPage();
	// A page as if the server had delivered it, and one of another origin.
	for (const address of [`http://127.0.0.1:${port}/page`, "http://elsewhere.example/page"]) {
		await page.route(address, (route) => route.fulfill({ contentType: "text/html", body: "<!doctype html>" }));
		await page.goto(address);
		await page.addScriptTag({ path: library });
		for (const protocolVersion of [4, 5]) {
			const seen = await page.evaluate(talk, { url: `ws://127.0.0.1:${port}/mqtt`, username, password, protocolVersion });
			const large = "x".repeat(300_000);
			assert.deepEqual(seen, ['{"id":"1","name":"Rex"}', "barks", large], `${address}, version ${protocolVersion}`);
		}
		const refused = await page.evaluate(refusal, { url: `ws://127.0.0.1:${port}/mqtt` });
		assert.match(refused, /not authorized/i, address);
	}
} finally {
	await browser.close();
	await rm(folder, { recursive: true, force: true });
}

/** In the page: a record, an event and something large, as its subscriber sees them. */
async function talk({ url, ...options }) {
	const client = await mqtt.connectAsync(url, { ...options, reconnectPeriod: 0 });
	const writer = await mqtt.connectAsync(url, { ...options, reconnectPeriod: 0 });
	await writer.publishAsync("dog/1", '{"name":"Rex"}', { qos: 1, retain: true });
	const seen = [];
	let more;
	const reach = (count) => new Promise((done) => (more = () => seen.length === count && done()));
	client.on("message", (topic, payload) => more(seen.push(payload.toString())));
	const record = reach(1);
	await client.subscribeAsync("dog/#", { qos: 1 });
	await record;
	const events = reach(3);
	await writer.publishAsync("dog/1", "barks", { qos: 2 });
	await writer.publishAsync("dog/1", "x".repeat(300_000), { qos: 1 });
	await events;
	await client.endAsync();
	await writer.publishAsync("dog/1", "", { qos: 1, retain: true });
	await writer.endAsync();
	return seen;
}

/** In the page: what somebody without a password is told. */
function refusal({ url }) {
	return new Promise((done) => {
		// Kept by the page: what nothing refers to may be collected before it has answered.
		window.refused = mqtt.connect(url, { reconnectPeriod: 0, protocolVersion: 5 });
		window.refused.on("error", (error) => done(error.message)).on("connect", () => done("let in"));
		window.refused.on("close", () => done("closed without a word"));
	});
}
