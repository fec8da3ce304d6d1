// Runs the cases of cache-tests for shared caches: node drive.mjs FOLDER URL. Each becomes a line of JSON.
//
// The suite's own runner waits for ever for a request that gets no answer; here a case has CASE_MS.
import { createRequire } from 'node:module'
import path from 'node:path'

const CASE_MS = 30000
const AT_ONCE = 60 // most of a case is a pause of three seconds

const [dir, base] = process.argv.slice(2)
const suite = path.join(dir, 'node_modules', 'http-cache-tests')
const { makeCacheTest, testResults } = await import(path.join(suite, 'client/test.mjs'))
const config = await import(path.join(suite, 'client/config.mjs'))
const { default: groups } = await import(path.join(suite, 'tests/index.mjs'))
config.setFetch(createRequire(path.join(dir, 'node_modules/'))('node-fetch'))
config.setBaseUrl(base)
config.setUseBrowserCache(false)

const cases = groups.flatMap(g => g.tests).filter(t => !t.browser_only)
async function work () {
  for (let c; (c = cases.shift()) !== undefined;) {
    let timer
    const late = new Promise(resolve => { timer = setTimeout(resolve, CASE_MS, 'late') })
    const how = await Promise.race([makeCacheTest(c), late])
    clearTimeout(timer)
    const result = how === 'late' ? ['Timeout', `no answer within ${CASE_MS} ms`] : testResults[c.id]
    console.log(JSON.stringify({ id: c.id, kind: c.kind || 'required', depends: c.depends_on || [], result }))
  }
}
await Promise.all(Array.from({ length: AT_ONCE }, work))
process.exit(0)
