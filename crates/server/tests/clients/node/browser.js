// MQTT.js in a page of a real browser against a running server, over ws and wss:
// browser.js WS_URL WSS_URL CERTIFICATE USER PASSWORD.
// The browser trusts the certificate by the hash of its key, as no authority of the system vouches for it.

import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [ws, wss, certificate, username, password] = process.argv.slice(2);
const page = "<!doctype html><title>kennel</title><link rel=icon href=data:,><script src=mqtt.js></script>";
const library = await readFile(new URL("./node_modules/mqtt/dist/mqtt.min.js", import.meta.url));
const site = createServer((request, response) => {
	const isScript = request.url === "/mqtt.js";
	response.setHeader("content-type", isScript ? "text/javascript" : "text/html");
	response.end(isScript ? library : page);
});
await once(site.listen(0, "127.0.0.1"), "listening");
const key = new X509Certificate(await readFile(certificate)).publicKey.export({ type: "spki", format: "der" });
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
		`--ignore-certificate-errors-spki-list=${createHash("sha256").update(key).digest("base64")}`,
	],
});
try {
	const tab = await browser.newPage();
	// The same page from this machine, and as if from elsewhere.
	await tab.route("http://elsewhere.example/**", async (route) => {
		const here = `http://127.0.0.1:${site.address().port}${new URL(route.request().url()).pathname}`;
		await route.fulfill({ response: await route.fetch({ url: here }) });
	});
	for (const address of [`http://127.0.0.1:${site.address().port}/`, "http://elsewhere.example/"]) {
		await tab.goto(address);
		for (const url of [ws, wss]) {
			for (const protocolVersion of [4, 5]) {
				const what = `${address}, ${url}, version ${protocolVersion}`;
				const seen = await tab.evaluate(talk, { url, username, password, protocolVersion });
				assert.deepEqual(seen, ['{"id":"1","name":"Rex"}', "barks", "x".repeat(300_000)], what);
			}
			assert.match(await tab.evaluate(refusal, { url }), /not authorized/i, `${address}, ${url}`);
		}
	}
} finally {
	await browser.close();
	site.close();
	await rm(folder, { recursive: true, force: true });
}

/** In the page: a record that is there already, an event and something large, as its subscriber sees them. */
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
