package proxyproto

import (
	"encoding/binary"
	"hash/crc32"
	"net/netip"

	"github.com/yumen-io/yumen/engine/message"
)

// signature is what a header of version 2 begins with, a block of bytes (2.2).
const signature = "\r\n\r\n\x00\r\nQUIT\n"

// A block is
//
//	signature 12 | version, command 1 | family, transport 1 | length 2 | addresses | TLVs
//
// and its length is that of everything behind it.
const blockFixed = 16

// Commands and families, and the length of the addresses of each.
const (
	version2     = 2
	commandLocal = 0
	commandProxy = 1

	familyUnspec = 0
	familyINET   = 1
	familyINET6  = 2
	familyUNIX   = 3

	transportUnspec = 0
	transportStream = 1
	transportDgram  = 2

	lengthINET  = 2*4 + 2*2
	lengthINET6 = 2*16 + 2*2
	lengthUNIX  = 2 * 108
)

// Types of TLV that are read (2.2.1 and on); all others are skipped. Each may come once, since the document does not say
// which of two would count.
const (
	typeAuthority = 0x02
	typeCRC32C    = 0x03
	typeUniqueID  = 0x05
)

// parseBlock reads a block of version 2.
func (h *Header) parseBlock(b []byte) (n int, refused *message.Refusal) {
	if len(b) < blockFixed {
		return 0, nil
	}
	command := b[12] & 15
	if b[12]>>4 != version2 || command > commandProxy {
		return 0, malformed
	}
	n = blockFixed + int(binary.BigEndian.Uint16(b[14:]))
	if n > BytesMax {
		return 0, large
	}
	family, transport := b[13]>>4, b[13]&15
	if command == commandProxy && (family > familyUNIX || transport > transportDgram) {
		return 0, malformed
	}
	if len(b) < n {
		return 0, nil
	}
	h.Version = 2
	if command == commandLocal || family == familyUnspec || transport == transportUnspec {
		// The whole block is to be ignored, and nobody knows where in it TLVs would begin.
		h.Local = true
		return n, nil
	}
	tlvs := blockFixed
	switch family {
	case familyINET:
		tlvs += lengthINET
	case familyINET6:
		tlvs += lengthINET6
	case familyUNIX:
		tlvs += lengthUNIX
	}
	if tlvs > n {
		return 0, malformed
	}
	addresses := b[blockFixed:tlvs]
	switch family {
	case familyINET:
		h.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(addresses)), binary.BigEndian.Uint16(addresses[8:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(addresses[4:])), binary.BigEndian.Uint16(addresses[10:]))
	case familyINET6:
		h.Source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(addresses)).Unmap(), binary.BigEndian.Uint16(addresses[32:]))
		h.Destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(addresses[16:])).Unmap(), binary.BigEndian.Uint16(addresses[34:]))
	case familyUNIX:
		h.Local = true
	}
	return n, h.parseTLVs(b[:n], tlvs)
}

// parseTLVs reads the TLVs that begin at an offset of the block.
func (h *Header) parseTLVs(block []byte, at int) *message.Refusal {
	checksumAt := 0
	for at < len(block) {
		if len(block)-at < 3 {
			return malformed
		}
		kind, length := block[at], int(binary.BigEndian.Uint16(block[at+1:]))
		at += 3
		if length > len(block)-at {
			return malformed
		}
		value := block[at : at+length : at+length]
		switch kind {
		case typeAuthority:
			if h.Authority != nil || !isAuthority(value) {
				return malformed
			}
			h.Authority = value
		case typeUniqueID:
			if h.UniqueID != nil || length > uniqueIDBytesMax {
				return malformed
			}
			h.UniqueID = value
		case typeCRC32C:
			if checksumAt != 0 || length != 4 {
				return malformed
			}
			checksumAt = at
		}
		at += length
	}
	if checksumAt != 0 && binary.BigEndian.Uint32(block[checksumAt:]) != checksum(block, checksumAt) {
		return badChecksum
	}
	return nil
}

// isAuthority tells whether b can be a host name that was passed on unread, since it may end up in logs and in fields. An
// empty one is how some balancers say that there is none.
func isAuthority(b []byte) bool {
	for _, c := range b {
		if c <= ' ' || c == 0x7f {
			return false
		}
	}
	return len(b) <= authorityBytesMax
}

// noChecksum stands in the checksum's place while it is computed (2.2.3). A variable, because what goes into the crc32
// package otherwise moves to the heap.
var noChecksum [4]byte

// checksum computes the CRC32c of a block whose own checksum stands at an offset.
func checksum(block []byte, at int) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once for the process, then the same one
	sum := crc32.Update(0, table, block[:at])
	sum = crc32.Update(sum, table, noChecksum[:])
	return crc32.Update(sum, table, block[at+len(noChecksum):])
}

// AppendV2 appends a header of version 2 to b: 28 bytes for IPv4, 52 for IPv6. If an address is not valid, it is LOCAL, 16
// bytes. If one address is IPv4 and the other IPv6, the first is written mapped into IPv6.
func AppendV2(b []byte, src, dst netip.AddrPort) []byte {
	s, d, ok := sides(src, dst)
	b = append(b, signature...)
	switch {
	case !ok:
		return append(b, version2<<4|commandLocal, familyUnspec<<4|transportUnspec, 0, 0)
	case s.Is4():
		from, to := s.As4(), d.As4()
		b = append(b, version2<<4|commandProxy, familyINET<<4|transportStream, 0, lengthINET)
		b = append(append(b, from[:]...), to[:]...)
	default:
		from, to := s.As16(), d.As16()
		b = append(b, version2<<4|commandProxy, familyINET6<<4|transportStream, 0, lengthINET6)
		b = append(append(b, from[:]...), to[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, src.Port())
	return binary.BigEndian.AppendUint16(b, dst.Port())
}
