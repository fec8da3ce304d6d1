package archtest

// floor is one storey of the house: packages that may import the same things.
type floor struct {
	name string
	// packages are the folders on this floor; "policy/..." takes in everything below. The longest pattern that fits wins.
	packages []string
	// may lists the floors whose packages may be imported. A floor that does not name itself has walls between its rooms.
	may []string
	// libraries are the foreign modules that may be imported; "*" stands for any, and then cmd/yumen/deps.txt shows it.
	libraries []string
	// why is printed with each edge that breaks the rule.
	why string
}

// floors is the picture of the house from the ground up. Tests are exempt: what a test imports is linked into nothing.
var floors = []floor{
	{
		name: "ground", packages: []string{"internal/..."}, may: []string{"ground"},
		libraries: []string{"golang.org/x/sys"},
		why:       "internal is the ground: everything may stand on it, so it stands on nothing",
	},
	{
		name: "buf", packages: []string{"engine/buf"}, may: []string{"ground"},
		why: "engine/buf counts who holds which bytes and knows nothing of what they mean",
	},
	{
		name: "message", packages: []string{"engine/message"}, may: []string{"ground", "buf"},
		why: "engine/message is the shape of HTTP that every version and every policy shares, so it depends on none of them",
	},
	{
		name: "policy", packages: []string{"policy/..."}, may: []string{"ground", "message", "policy"},
		why: "policy decides and does not act: with neither sockets, clock nor loop in reach, a simulation can ask it anything",
	},
	{
		name: "store", packages: []string{"store/..."}, may: []string{"ground", "policy", "store"}, libraries: []string{"*"},
		why: "store is what gateways and services keep together in a store outside: both are its callers, and it knows neither",
	},
	{
		name: "telemetry", packages: []string{"telemetry/..."}, may: []string{"ground", "telemetry"}, libraries: []string{"*"},
		why: "telemetry stands beside the house: whoever is measured calls it, and it calls nobody",
	},
	{
		name: "loop", packages: []string{"engine/loop"}, may: []string{"ground", "buf"}, libraries: []string{"golang.org/x/sys"},
		why: "the loop moves bytes and never imports a codec: another protocol must not need another loop",
	},
	{
		name: "block", packages: []string{"engine/h2/block"}, may: []string{"ground", "buf", "message"},
		libraries: []string{"golang.org/x/net"},
		why:       "engine/h2/block turns header blocks into heads and back, and knows nothing of frames and streams",
	},
	{
		name: "codec", packages: []string{"engine/h1", "engine/h2", "engine/ws", "engine/clienthello", "engine/proxyproto"},
		may: []string{"ground", "buf", "message", "block"},
		why: "a codec turns bytes into events and back and never imports the loop: it must run in a fuzzer, byte by byte",
	},
	{
		name: "tls", packages: []string{"engine/tlsconn"}, may: []string{"ground", "buf"},
		why: "engine/tlsconn turns records into bytes; whose loop it runs on and which protocol follows is decided above it",
	},
	{
		name: "bridge", packages: []string{"engine/h3"}, may: []string{"ground", "buf", "message", "loop"}, libraries: []string{"*"},
		why: "engine/h3 joins a foreign QUIC stack to loop-owned streams, and is the one protocol that must see both",
	},
	{
		name: "engine", packages: []string{"engine"}, may: []string{"ground", "buf", "message", "loop", "codec", "tls", "bridge"},
		libraries: []string{"golang.org/x/sys"},
		why:       "engine is an HTTP engine that knows nothing of gateways: usable alone, it imports nothing above it",
	},
	{
		name: "upstream", packages: []string{"gateway/upstream"},
		may:       []string{"ground", "buf", "message", "policy", "telemetry", "loop", "codec", "tls", "engine"},
		libraries: []string{"golang.org/x/sys"},
		why:       "gateway/upstream knows clusters and connections and not the exchange that asks for one",
	},
	{
		name: "gateway", packages: []string{"gateway"},
		may:       []string{"ground", "buf", "message", "policy", "telemetry", "loop", "codec", "tls", "engine", "upstream"},
		libraries: []string{"golang.org/x/sys"},
		why:       "the data plane runs on a snapshot it was given: it knows neither which filters exist nor where configuration comes from",
	},
	{
		name: "filter", packages: []string{"filters/..."},
		may:       []string{"ground", "buf", "message", "policy", "telemetry", "gateway", "store"},
		libraries: []string{"*"},
		why:       "a filter meets the gateway's hooks and no other filter, so that any order and any selection of them works",
	},
	{
		name: "catalogue", packages: []string{"filters"}, may: []string{"ground", "message", "policy", "telemetry", "gateway", "filter"},
		why: "the catalogue is the one written-out list of the filters; it reads no configuration by itself",
	},
	{
		name: "console", packages: []string{"console/..."}, may: []string{"ground"},
		why: "the console is pages: it learns everything through the admin API, like any other client",
	},
	{
		name: "registry", packages: []string{"kit/registry"}, may: []string{"ground"}, libraries: []string{"*"},
		why: "kit/registry is the one package of the kit that the gateway shares, since both must find the same instances by the same rules; it stands below both",
	},
	{
		name: "discovery", packages: []string{"control/etcd"},
		may: []string{"ground", "buf", "message", "policy", "telemetry", "loop", "codec", "tls", "engine", "upstream", "registry"},
		why: "control/etcd is the one package of the gateway that reads the register of services: its client, and etcd's, can be taken out again in one place",
	},
	{
		name: "control", packages: []string{"control/..."},
		may: []string{"ground", "buf", "message", "policy", "telemetry", "loop", "block", "codec", "tls", "engine", "upstream", "gateway",
			"store", "filter", "catalogue", "console", "control", "discovery"},
		libraries: []string{"*"},
		why:       "control builds what the data plane runs on; only the programs stand above it",
	},
	{
		name: "kit", packages: []string{"kit/..."}, may: []string{"ground", "policy", "store", "kit", "registry"}, libraries: []string{"*"},
		why: "kit is for services anywhere: it shares decisions and stores with the gateway and none of its machinery",
	},
	{
		name: "shop", packages: []string{"shop/..."}, may: []string{"kit", "registry", "shop"}, libraries: []string{"*"},
		why: "the shop proves kit: whatever it cannot do through kit is missing there",
	},
	{
		name: "chaos", packages: []string{"chaos/..."}, may: []string{"ground", "chaos"}, libraries: []string{"*"},
		why: "what breaks the house must not lean on it",
	},
	{
		name: "bench", packages: []string{"bench/..."}, may: []string{"bench"}, libraries: []string{"golang.org/x/sys"},
		why: "benchmarks speak over the wire, so that ours is measured as every other program is",
	},
	{
		name: "conformance", packages: []string{"conformance/..."}, may: []string{"conformance"}, libraries: []string{"*"},
		why: "conformance speaks over the wire: a suite that links the code it judges can share its mistakes",
	},
	{
		name: "cmd", packages: []string{"cmd/..."},
		may: []string{"ground", "buf", "message", "policy", "telemetry", "loop", "codec", "tls", "engine", "upstream", "gateway",
			"filter", "catalogue", "console", "control", "chaos", "cmd"},
		libraries: []string{"*"},
		why:       "a program joins what is there; suites, benchmarks and the services behind the gateway are none of it",
	},
}
