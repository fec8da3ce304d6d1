// Package cidr finds the longest of many networks that an address lies in.
//
// A Table is a trie with six bits to a step. A node knows how many bits all of its networks have in common and compares them
// at once, so that a list of single IPv6 addresses takes no longer paths than one of IPv4 networks: what costs is where
// networks part, not how long they are. The values of networks that end within a node's six bits are pushed down to the
// sixty-four slots, and runs of equal slots are kept once; a population count finds the run.
//
//	node: the bits all below it share, compared first; another address gets otherwise
//	  children  0100...   slots that lead to a further node
//	  runs      1011...   where a run of equal leaves begins
//
// A lookup allocates nothing, and with a hundred thousand networks visits three to six nodes.
//
// IPv4 and IPv6 are two tries. An IPv4-mapped IPv6 address (RFC 4291 section 2.5.5.2) is the IPv4 address in it, here and in
// networks: sockets of both kinds show one client in two ways, and a list must not be passed by the choice of socket. So ::/0
// takes no IPv4 client in, in either spelling.
//
// The package reads lists, too, as files have them. It opens no files.
package cidr
