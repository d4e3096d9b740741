"""The page at `/docs`: shows `/openapi.json` with nothing from elsewhere."""

from __future__ import annotations

from typing import Final

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
)

PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>REST API</title>
<style>
  :root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
  body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
  h2 { margin-top: 2.5rem; text-transform: capitalize; }
  details { border: 1px solid #8884; border-radius: .4rem; margin: .4rem 0; padding: .4rem .8rem; }
  summary { cursor: pointer; }
  summary b { display: inline-block; width: 4.5rem; }
  code, pre { font: 13px/1.4 ui-monospace, monospace; }
  pre { background: #8882; padding: .6rem; border-radius: .3rem; overflow: auto; max-height: 24rem; }
  .muted { opacity: .7; }
</style>
<h1>REST API</h1>
<p id="about" class="muted">Loading …</p>
<p><a href="openapi.json">openapi.json</a></p>
<main id="operations"></main>
<script>
"use strict";
const make = (tag, text, parent) => {
  const element = document.createElement(tag);
  element.textContent = text;
  parent.append(element);
  return element;
};
const resolve = (schema, all, depth = 0) => {
  if (!schema || typeof schema !== "object" || depth > 6) return schema;
  if (Array.isArray(schema)) return schema.map((item) => resolve(item, all, depth));
  if (schema.$ref) return resolve(all[schema.$ref.split("/").pop()], all, depth + 1);
  return Object.fromEntries(
    Object.entries(schema).filter(([key]) => key !== "title").map(([key, value]) => [key, resolve(value, all, depth)]));
};
const show = (title, content, all, parent) => {
  const schema = content && content["application/json"] && content["application/json"].schema;
  make("h4", title, parent);
  const types = Object.keys(content || {}).join() || "empty";
  make("pre", schema ? JSON.stringify(resolve(schema, all), null, 2) : types, parent);
};
fetch("openapi.json").then((answer) => answer.json()).then((api) => {
  document.getElementById("about").textContent = `${api.info.title} ${api.info.version}. ${api.info.description}`;
  const schemas = api.components.schemas, groups = new Map();
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push([method, path, operation]);
    }
  const main = document.getElementById("operations");
  for (const [tag, operations] of groups) {
    make("h2", tag, main);
    for (const [method, path, operation] of operations) {
      const box = make("details", "", main), line = make("summary", "", box);
      make("b", method.toUpperCase(), line);
      make("code", path, line);
      make("span", " " + operation.summary, line).className = "muted";
      make("p", operation.description, box);
      for (const parameter of operation.parameters)
        make("p", `${parameter.in} ${parameter.name}: ${JSON.stringify(parameter.schema)}`, box);
      if (operation.requestBody) show("Request", operation.requestBody.content, schemas, box);
      for (const [status, answer] of Object.entries(operation.responses))
        if (Number(status) < 300) show(`Answer ${status}`, answer.content, schemas, box);
        else make("p", `${status} ${answer.description}`, box).className = "muted";
    }
  }
}).catch((error) => { document.getElementById("about").textContent = String(error); });
</script>
"""
