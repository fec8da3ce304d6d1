package cache

import "github.com/yumen-io/yumen/engine/message"

// Unix is a time of day in seconds since 1970, as dates of messages have it.
type Unix = int64

// ParseDate reads a date of RFC 9110 5.6.7 in any of its three forms: the one to send, that of RFC 850 and that of asctime. Names
// of days and months are compared without regard to case, the name of the day is not held against the date, and the zone must be
// GMT. now decides which century a year of two digits means.
func ParseDate(b []byte, now Unix) (Unix, bool) {
	b = trim(b)
	day := 0
	for day < len(b) && isLetter(b[day]) {
		day++
	}
	if day < 3 || day == len(b) {
		return 0, false
	}
	p := dateReader{b: b[day+1:], ok: true}
	switch {
	case b[day] == ' ':
		return p.asctime()
	case b[day] != ',':
		return 0, false
	case day > 3:
		return p.rfc850(now)
	}
	return p.imf()
}

func isLetter(c byte) bool { return message.Lower(c)-'a' < 26 }

// dateReader reads the parts of a date from the left; ok turns false at the first that does not fit.
type dateReader struct {
	b  []byte
	ok bool
}

// imf reads " 06 Nov 1994 08:49:37 GMT".
func (p *dateReader) imf() (Unix, bool) {
	p.literal(" ")
	d := p.digits(2)
	p.literal(" ")
	m := p.month()
	p.literal(" ")
	y := p.digits(4)
	p.literal(" ")
	s := p.clock()
	p.literal(" gmt")
	return p.sum(y, m, d, s)
}

// rfc850 reads " 06-Nov-94 08:49:37 GMT". A date that seems more than fifty years ahead lies in the past.
func (p *dateReader) rfc850(now Unix) (Unix, bool) {
	p.literal(" ")
	d := p.digits(2)
	p.literal("-")
	m := p.month()
	p.literal("-")
	y := p.digits(2)
	p.literal(" ")
	s := p.clock()
	p.literal(" gmt")
	year, _, _ := civil(now / secondsADay)
	y += year / 100 * 100
	if y > year+50 {
		y -= 100
	}
	return p.sum(y, m, d, s)
}

// asctime reads "Nov  6 08:49:37 1994".
func (p *dateReader) asctime() (Unix, bool) {
	m := p.month()
	p.literal(" ")
	var d int64
	if len(p.b) > 0 && p.b[0] == ' ' {
		p.b = p.b[1:]
		d = p.digits(1)
	} else {
		d = p.digits(2)
	}
	p.literal(" ")
	s := p.clock()
	p.literal(" ")
	return p.sum(p.digits(4), m, d, s)
}

// literal takes text, given in lower case.
func (p *dateReader) literal(text string) {
	if !p.ok || len(p.b) < len(text) || !equalFold(p.b[:len(text)], text) {
		p.ok = false
		return
	}
	p.b = p.b[len(text):]
}

func (p *dateReader) digits(n int) int64 {
	if !p.ok || len(p.b) < n {
		p.ok = false
		return 0
	}
	var v int64
	for _, c := range p.b[:n] {
		if c-'0' > 9 {
			p.ok = false
		}
		v = v*10 + int64(c-'0')
	}
	p.b = p.b[n:]
	return v
}

const months = "janfebmaraprmayjunjulaugsepoctnovdec"

func (p *dateReader) month() int64 {
	for m := 0; p.ok && len(p.b) >= 3 && m < 12; m++ {
		if equalFold(p.b[:3], months[3*m:3*m+3]) {
			p.b = p.b[3:]
			return int64(m + 1)
		}
	}
	p.ok = false
	return 0
}

// clock returns the second of the day.
func (p *dateReader) clock() int64 {
	h := p.digits(2)
	p.literal(":")
	m := p.digits(2)
	p.literal(":")
	s := p.digits(2)
	p.ok = p.ok && h < 24 && m < 60 && s <= 60 // a leap second is a second
	return h*3600 + m*60 + s
}

// sum ends the date, of which nothing may be left.
func (p *dateReader) sum(y, m, d, seconds int64) (Unix, bool) {
	if !p.ok || len(p.b) > 0 || d < 1 || d > 31 {
		return 0, false
	}
	return days(y, m, d)*secondsADay + seconds, true
}

const secondsADay = 24 * 3600

// days returns how many days the date lies behind 1970. Years begin in March here, so that a leap day ends one; 400 years
// always have as many days.
func days(y, m, d int64) int64 {
	m -= 3
	if m < 0 {
		m += 12
		y--
	}
	return 365*y + floorDiv(y, 4) - floorDiv(y, 100) + floorDiv(y, 400) + (153*m+2)/5 + d - 1 - daysTo1970
}

// daysTo1970 are those from the first of March of the year zero on.
const daysTo1970 = 719468

// civil undoes days.
func civil(day int64) (y, m, d int64) {
	day += daysTo1970
	era := floorDiv(day, 146097)
	day -= era * 146097
	year := (day - day/1460 + day/36524 - day/146096) / 365
	day -= 365*year + year/4 - year/100
	m = (5*day + 2) / 153
	d = day - (153*m+2)/5 + 1
	if m += 3; m > 12 {
		m -= 12
		year++
	}
	return year + era*400, m, d
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

const dayNames, monthNames = "ThuFriSatSunMonTueWed", "JanFebMarAprMayJunJulAugSepOctNovDec"

// AppendDate appends a date in the form to send.
func AppendDate(b []byte, t Unix) []byte {
	day := floorDiv(t, secondsADay)
	s := t - day*secondsADay
	y, m, d := civil(day)
	w := (day%7 + 7) % 7
	b = append(append(b, dayNames[3*w:3*w+3]...), ", "...)
	b = appendTwo(b, d)
	b = append(append(append(b, ' '), monthNames[3*m-3:3*m]...), ' ')
	b = appendTwo(appendTwo(b, y/100), y%100)
	b = appendTwo(append(b, ' '), s/3600)
	b = appendTwo(append(b, ':'), s/60%60)
	b = appendTwo(append(b, ':'), s%60)
	return append(b, " GMT"...)
}

func appendTwo(b []byte, n int64) []byte { return append(b, byte('0'+n/10%10), byte('0'+n%10)) }
