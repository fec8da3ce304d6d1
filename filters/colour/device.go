package colour

import (
	"bytes"

	"github.com/yumen-io/yumen/engine/message"
	"github.com/yumen-io/yumen/policy/balance"
)

// Device is a kind of device.
type Device uint8

// Kinds of device.
const (
	Unknown Device = iota
	Desktop
	Mobile
	Tablet
	Bot
	devices
)

var deviceWords = [devices]string{Unknown: "unknown", Desktop: "desktop", Mobile: "mobile", Tablet: "tablet", Bot: "bot"}

// String returns the word that upstreams get.
func (d Device) String() string { return deviceWords[d] }

// agentBytesMax is how much of a User-Agent is looked at: what tells is in the first two hundred bytes.
const agentBytesMax = 512

// signs are what a User-Agent has in it, in lower case, and what that means; the first that is there decides. A list that is short enough to read and
// to document is the point: whoever needs models and versions asks a database behind the gateway.
var signs = []struct {
	text []byte
	is   Device
}{
	{[]byte("cubot"), Mobile}, // a make of phones
	{[]byte("bot"), Bot}, {[]byte("crawl"), Bot}, {[]byte("spider"), Bot}, {[]byte("slurp"), Bot}, {[]byte("headless"), Bot},
	{[]byte("curl/"), Bot}, {[]byte("wget/"), Bot}, {[]byte("python"), Bot}, {[]byte("go-http-client"), Bot}, {[]byte("okhttp"), Mobile},
	{[]byte("smart-tv"), Unknown}, {[]byte("smarttv"), Unknown}, {[]byte("android tv"), Unknown}, {[]byte("googletv"), Unknown}, {[]byte("crkey"), Unknown},
	{[]byte("ipad"), Tablet}, {[]byte("tablet"), Tablet}, {[]byte("kindle"), Tablet}, {[]byte("silk/"), Tablet},
	{[]byte("mobi"), Mobile}, {[]byte("iphone"), Mobile}, {[]byte("ipod"), Mobile}, {[]byte("windows phone"), Mobile},
	{[]byte("android"), Tablet}, // those that are phones say Mobile
	{[]byte("windows nt"), Desktop}, {[]byte("macintosh"), Desktop}, {[]byte("x11"), Desktop}, {[]byte("cros "), Desktop},
}

// agentScratch is a loop's, for a User-Agent in lower case.
type agentScratch [agentBytesMax]byte

// agentsKept is how many User-Agents a loop remembers: few are behind most requests, and looking one through takes two microseconds.
const agentsKept = 256

// agents are a loop's User-Agents and what they were found to be, by a hash. Two with one hash, which only somebody finds who looks for them,
// may be taken for each other: who sends them could have said anything anyway.
type agents [agentsKept]struct {
	hash uint64 // 0: none yet
	is   Device
}

// deviceOf is the package's deviceOf with a memory.
func (a *agents) deviceOf(agent []byte, scratch *agentScratch) Device {
	agent = agent[:min(len(agent), agentBytesMax)]
	hash := balance.HashKey(agent, 0) | 1
	at := &a[hash>>1%agentsKept]
	if at.hash != hash {
		at.hash, at.is = hash, deviceOf(agent, scratch)
	}
	return at.is
}

// deviceOf tells the kind of device by its User-Agent.
func deviceOf(agent []byte, scratch *agentScratch) Device {
	low := scratch[:copy(scratch[:], agent)]
	for i, c := range low {
		low[i] = message.Lower(c)
	}
	for i := range signs {
		if bytes.Contains(low, signs[i].text) {
			return signs[i].is
		}
	}
	return Unknown
}
