package demo

import (
	_ "embed"
	"strings"
)

// Addresses are those the document is written with.
const (
	ListenAddress = "127.0.0.1:8080"
	AdminAddress  = "127.0.0.1:9901"
)

// UpstreamAddresses are those of apple, banana and cherry in the document.
var UpstreamAddresses = [3]string{"127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"}

//go:embed demo.yaml
var document string

// Document is the configuration of the demo with the addresses it really has. It is the embedded file with words
// replaced, and not made from a template, so that the file can be read and run by itself.
func Document(listen, admin string, upstreams [3]string) []byte {
	words := []string{ListenAddress, listen, AdminAddress, quoted(admin)}
	for i, written := range UpstreamAddresses {
		words = append(words, written, upstreams[i])
	}
	return []byte(strings.NewReplacer(words...).Replace(document))
}

// quoted protects what begins with a bracket or a colon where the document has a plain word.
func quoted(address string) string {
	if strings.HasPrefix(address, "[") || strings.HasPrefix(address, ":") {
		return `"` + address + `"`
	}
	return address
}
