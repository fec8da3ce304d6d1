package block

// Limits bound what a header block can make a Reader keep or do. Zero means the default named beside each.
type Limits struct {
	// ListBytesMax bounds a head or a trailer section, counted as RFC 9113 6.5.2 counts it for
	// SETTINGS_MAX_HEADER_LIST_SIZE: 32 bytes for each field beside its name and its value (431, large_head or
	// large_trailers). 32 kB, as in HTTP/1. Twice as much in one block, encoded or decoded, ends the connection
	// (hpack_bomb): a block that is refused already is read on only to keep the two tables in step.
	ListBytesMax int
	// FieldsMax bounds the number of fields, without pseudo-fields and crumbs of cookies (431, many_fields). 100, as in
	// HTTP/1: work per field elsewhere is multiplied by this number.
	FieldsMax int
	// CrumbsMax bounds the pieces in which a Cookie may come, RFC 9113 8.2.3 (431, cookie_crumbs). 200: browsers keep no
	// more than 180 cookies for a site and send each by itself.
	CrumbsMax int
	// TargetBytesMax bounds :path (414, long_target). 8 kB: RFC 9110 4.1 asks for at least 8000 octets.
	TargetBytesMax int
	// TableBytesMax bounds the dynamic table of the peer's compression, as SETTINGS_HEADER_TABLE_SIZE announces it. 4096,
	// what RFC 9113 6.5.2 begins with; a smaller one holds from Acknowledged on.
	TableBytesMax uint32
}

// NewLimits returns l with the defaults in place of zeros.
func NewLimits(l Limits) Limits {
	fill := func(v *int, standard int) {
		if *v == 0 {
			*v = standard
		}
	}
	fill(&l.ListBytesMax, 32<<10)
	fill(&l.FieldsMax, 100)
	fill(&l.CrumbsMax, 200)
	fill(&l.TargetBytesMax, 8<<10)
	if l.TableBytesMax == 0 {
		l.TableBytesMax = initialTable
	}
	return l
}

// Limits that follow from the protocol or from a representation of ours, so that there is nothing to choose.
const (
	// initialTable is the size of both dynamic tables before any SETTINGS (RFC 9113 6.5.2).
	initialTable = 4096
	// fieldOverhead is what a field counts beside its name and value (RFC 7541 4.1, RFC 9113 6.5.2).
	fieldOverhead = 32
	// bombFactor times ListBytesMax is more than anybody sends who wants an answer.
	bombFactor = 2
	// savedKept bounds what a connection keeps of the memory in which a field waited for the rest of its block.
	savedKept = 4 << 10
	// methodBytesMax: the longest registered method (UPDATEREDIRECTREF) has 17 letters.
	methodBytesMax = 32
	// hostBytesMax: a DNS name has at most 253 characters, a port 5.
	hostBytesMax = 260
)
