//go:build linux

package main

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Sizes of the plot in pixels: a label column, then a bar for each program and test.
const (
	plotWidth     = 760
	plotLabel     = 130
	plotBar       = 16
	plotGroupGap  = 14
	plotHeadSpace = 64
	// plotValue is room for the figure behind the longest bar.
	plotValue = 60
)

// plotted are the tests drawn, each with its colour: both read well for the colour-blind, and on dark and light pages.
var plotted = []struct{ name, label, colour string }{
	{"closed-64", "64 connections", "#4477aa"},
	{"closed-512", "512 connections", "#ee8866"},
}

// plot draws the CPU time of one request for each program as an SVG, "" when nothing was measured that it shows.
func (r *report) plot() string {
	longest, rows := 0.0, 0
	for _, p := range r.bench.programs {
		drawn := false
		for _, t := range plotted {
			if m, ok := r.bench.figure(t.name, p.Name, cpuColumn); ok {
				longest, drawn = max(longest, m), true
			}
		}
		if drawn {
			rows++
		}
	}
	if rows == 0 {
		return ""
	}
	group := len(plotted)*plotBar + plotGroupGap
	height := plotHeadSpace + rows*group
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="13">`+"\n",
		plotWidth, height, plotWidth, height)
	fmt.Fprintf(&s, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", plotWidth, height)
	text(&s, 10, 24, "#222222", "CPU time of one proxied request, µs (less is better)")
	x := 10
	for _, t := range plotted {
		fmt.Fprintf(&s, `<rect x="%d" y="36" width="12" height="12" fill="%s"/>`+"\n", x, t.colour)
		text(&s, x+18, 47, "#222222", t.label)
		x += 150
	}
	y := plotHeadSpace
	for _, p := range r.bench.programs {
		drawn := false
		for i, t := range plotted {
			m, ok := r.bench.figure(t.name, p.Name, cpuColumn)
			if !ok {
				continue
			}
			drawn = true
			top := y + i*plotBar
			width := m / longest * (plotWidth - plotLabel - plotValue)
			fmt.Fprintf(&s, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+"\n", plotLabel, top, width, plotBar-2, t.colour)
			text(&s, plotLabel+int(width)+6, top+plotBar-4, "#222222", fmt.Sprintf("%.1f", m))
		}
		if drawn {
			text(&s, 10, y+plotBar+4, "#222222", p.Name)
			y += group
		}
	}
	s.WriteString("</svg>\n")
	return s.String()
}

func text(s *strings.Builder, x, y int, colour, content string) {
	fmt.Fprintf(s, `<text x="%d" y="%d" fill="%s">`, x, y, colour)
	// A strings.Builder takes every write.
	_ = xml.EscapeText(s, []byte(content))
	s.WriteString("</text>\n")
}
