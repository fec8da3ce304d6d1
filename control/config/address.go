package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Address is a host and a port. The host is an IP address, a name in lower case, or empty for every local address.
type Address struct {
	Host string
	Port uint16 // 0, for listeners only: a free one of the kernel's choice
}

// String is the form read by the parser: 10.0.0.1:80, [::1]:80, app.internal:80, :8080.
func (a Address) String() string {
	return net.JoinHostPort(a.Host, strconv.Itoa(int(a.Port)))
}

// IP is the host as an IP address; ok is false for a name and for an empty host.
func (a Address) IP() (ip netip.Addr, ok bool) {
	ip, err := netip.ParseAddr(a.Host)
	return ip, err == nil
}

// IsLoopback reports an address only this machine can reach.
func (a Address) IsLoopback() bool {
	ip, ok := a.IP()
	return ok && ip.Unmap().IsLoopback()
}

// isEverywhere reports an address that stands for every local one.
func (a Address) isEverywhere() bool {
	ip, ok := a.IP()
	return a.Host == "" || ok && ip.IsUnspecified()
}

// localAddress is where a socket listens: an IP address, localhost or nothing, and a port. Names are not resolved: what
// they stand for may change while the socket is open.
func localAddress() kind[Address] {
	return parsed("address", ":8080 or 127.0.0.1:8080", `(.*:)?[0-9]+`, parseLocalAddress, Address.String)
}

// endpointAddress is where an upstream listens: an IP address or a name, and a port.
func endpointAddress() kind[Address] {
	return parsed("address", "10.0.0.1:9000 or app.internal:9000", `.+:[0-9]+`, parseEndpointAddress, Address.String)
}

func parseLocalAddress(s string) (a Address, cause, fix string) {
	if isDigits(s) {
		return a, quote(s) + " is a port without a colon", "write \":" + s + "\""
	}
	a, cause, fix = splitAddress(s, "8080")
	if cause != "" {
		return Address{}, cause, fix
	}
	if strings.EqualFold(a.Host, "localhost") {
		a.Host = "127.0.0.1"
	}
	if _, isIP := a.IP(); a.Host != "" && !isIP {
		return Address{}, quote(a.Host) + " is not an IP address of this machine",
			fmt.Sprintf("write the IP address to listen on, or \":%d\" for all of them; names are matched by the host of a route", a.Port)
	}
	return a, "", ""
}

func parseEndpointAddress(s string) (a Address, cause, fix string) {
	a, cause, fix = splitAddress(s, "80")
	switch {
	case cause != "" && strings.HasPrefix(s, "https://"):
		return Address{}, cause, fix + ", and tls: on in the cluster"
	case cause != "":
		return Address{}, cause, fix
	case a.Host == "":
		return Address{}, quote(s) + " has no host", fmt.Sprintf("write 127.0.0.1:%d for this machine", a.Port)
	case a.Port == 0:
		return Address{}, quote(s) + " has port 0", "write the port the upstream listens on"
	}
	if _, isIP := a.IP(); !isIP {
		if name := strings.Trim(a.Host, "${} "); name != a.Host && isHostName(name) {
			return Address{}, quote(a.Host) + " is not how a variable is written", "write ${" + name + "}"
		}
		written := a.Host
		a.Host = strings.ToLower(a.Host)
		if !isHostName(a.Host) {
			return Address{}, quote(written) + " is neither an IP address nor a host name", "write letters, digits, dashes and dots: app.internal"
		}
	}
	return a, "", ""
}

// splitAddress takes s apart, and tells what people write instead of host:port.
func splitAddress(s, examplePort string) (a Address, cause, fix string) {
	if scheme, rest, isURL := strings.Cut(s, "://"); isURL {
		rest, _, _ = strings.Cut(rest, "/")
		if !strings.Contains(rest, ":") {
			rest += ":" + portOf(scheme)
		}
		return a, quote(s) + " is a URL, not an address", "write " + quote(rest)
	}
	if ip, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		host := ip.String()
		if ip.Is6() {
			host = "[" + host + "]"
		}
		return a, quote(s) + " has no port", "write " + quote(host+":"+examplePort)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if s != "" && !strings.ContainsAny(s, ":[]/ ") {
			return a, quote(s) + " has no port", "write " + quote(s+":"+examplePort)
		}
		return a, quote(s) + " is not an address", "write host:port, with an IPv6 host in brackets: 10.0.0.1:" + examplePort + ", \"[::1]:" + examplePort + "\""
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || !isDigits(port) {
		return a, quote(port) + " is not a port", "write a number up to 65535"
	}
	if strings.Contains(host, ":") {
		ip, err := netip.ParseAddr(host)
		if err != nil {
			return a, quote(host) + " is not an IPv6 address", ""
		}
		host = ip.String()
	}
	return Address{host, uint16(n)}, "", ""
}

func portOf(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// isHostName reports a DNS name: labels of letters, digits, dashes and the underscores that containers like (RFC 1123
// section 2.1 but for those). A name that ends in digits only is an IPv4 address with a slip in it, never a name.
func isHostName(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := 0; i < len(label); i++ {
			if c := label[i]; !isAlnum(c) && c != '-' && c != '_' {
				return false
			}
		}
	}
	return !isDigits(labels[len(labels)-1])
}

// prefix is a network in CIDR form; an address alone is itself.
func prefix() kind[netip.Prefix] {
	return parsed("network", "10.0.0.0/8", `[0-9A-Fa-f:.]+(/[0-9]+)?`, parsePrefix, netip.Prefix.String)
}

func parsePrefix(s string) (p netip.Prefix, cause, fix string) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		return netip.PrefixFrom(ip, ip.BitLen()), "", ""
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, quote(s) + " is not a network", "write 10.0.0.0/8, 2001:db8::/32 or a single address"
	}
	if p != p.Masked() {
		return p, quote(s) + " has bits set outside its mask", "write " + quote(p.Masked().String())
	}
	return p, "", ""
}
