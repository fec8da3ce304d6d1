package archtest

// wall says what must not be imported, called or written in some part of the house.
type wall struct {
	// in are the folders behind the wall, as in floor.packages, and notIn those among them that stand before it.
	in, notIn []string
	// except names files that may pass, each with its reason.
	except map[string]string
	// imports are packages that must not be imported; "net/..." takes in everything below net, and net itself.
	imports []string
	// calls are package-level names that must not be used, written "time.Now". "math/rand.*" is every one but the
	// constructors that take their source as an argument.
	calls []string
	// goroutines forbids the go statement.
	goroutines bool
	// tests puts test files behind the wall as well.
	tests bool
	why   string
}

// clock and randomness are what makes the same input give another output.
var (
	clock = []string{"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.AfterFunc", "time.NewTimer", "time.NewTicker", "time.Tick",
		"github.com/yumen-io/yumen/internal/mono.Now"}
	randomness = []string{"math/rand.*", "math/rand/v2.*"}
	outside    = []string{"net/...", "os/...", "syscall", "golang.org/x/sys/...", "io/ioutil", "log/..."}
)

var walls = []wall{
	{
		in: []string{"policy/..."}, imports: append([]string{"sync/...", "context"}, outside...),
		calls: append(append([]string{}, clock...), randomness...), goroutines: true,
		why: "policy decides from its arguments alone: time and randomness are passed in, I/O and locks belong to the caller",
	},
	{
		in:      []string{"engine/buf", "engine/message", "engine/h1", "engine/h2/...", "engine/ws", "engine/clienthello", "engine/proxyproto"},
		imports: append([]string{"sync/...", "context"}, outside...),
		calls:   append(append([]string{}, clock...), randomness...), goroutines: true,
		why: "buffers, messages and codecs are owned by one loop and perform no I/O: a lock, a clock or a socket here is paid per byte",
	},
	{
		in:    []string{"engine/loop", "engine", "gateway/..."},
		calls: []string{"time.Now", "time.Since", "time.Until", "time.Sleep", "time.After", "time.Tick"},
		why:   "a loop reads the clock once per turn (mono.Now) and hands the value down; nothing on a loop sleeps",
	},
	{
		in: []string{"..."}, calls: []string{"time.Sleep"}, tests: true,
		why: "whoever sleeps is guessing how long something takes: wait for the event, or ask for a clock",
	},
	{
		in: []string{"..."}, notIn: []string{"conformance/..."}, imports: []string{"testing/...", "pgregory.net/rapid", "go.uber.org/goleak"},
		why: "test machinery belongs to _test.go files and to the suites: anywhere else it is linked into the program",
	},
	{
		in: []string{"..."}, imports: []string{"unsafe"}, except: map[string]string{
			"engine/loop/io_linux.go":      "raw system calls that the scheduler is not told about take addresses",
			"engine/loop/poller_epoll.go":  "raw system calls that the scheduler is not told about take addresses",
			"engine/loop/poller_kqueue.go": "sizes and offsets of a kernel structure that differs between systems",
		},
		why: "unsafe code is reviewed as such: name the file in the exceptions with its reason",
	},
	{
		in: []string{"..."}, notIn: []string{"kit/app/ginchain"}, imports: []string{"github.com/gin-gonic/gin/..."},
		why: "who does not use gin does not link it: its adapter is a package of its own",
	},
	{
		in: []string{"..."}, imports: []string{"io/ioutil", "math/rand", "log"}, tests: true,
		why: "these have successors: io and os, math/rand/v2, log/slog",
	},
}

// folders are all folders the repository has at its top. Git's and editors' own, whose names begin with a dot, and what
// .gitignore names are not counted.
var folders = []string{
	"bench", "build", "chaos", "cmd", "conformance", "console", "control", "deploy", "docs", "engine", "examples", "filters", "gateway",
	"internal", "kit", "policy", "shop", "store", "telemetry",
}

// rooms of internal are a closed list: a sixth would be the drawer that everything falls into.
var rooms = []string{"archtest", "invariant", "mono", "sim", "sys"}

// linesMax is the length from which a file surely holds two ideas. It may be lowered, never raised.
const linesMax = 900
