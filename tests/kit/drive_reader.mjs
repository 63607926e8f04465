// Runs the reader for Node.js, whose path is the first argument, once for each line of standard input.
//
// A line is a JSON list of arguments. The answer is a line too: exit code, standard error, length and SHA-256 of what
// came out. One process for all, because a start of Node.js takes longer than to open a file.
import { createHash } from "node:crypto";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { main } = await import(pathToFileURL(process.argv[2]));
for await (const line of createInterface({ input: process.stdin })) {
  const hash = createHash("sha256");
  let errors = "", length = 0;
  const write = async (part) => { hash.update(part); length += part.length; };
  const code = await main(JSON.parse(line), write, (text) => { errors += text; });
  console.log(JSON.stringify([code, errors, length, hash.digest("hex")]));
}
