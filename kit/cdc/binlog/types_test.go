package binlog_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/yumen-io/yumen/kit/cdc"
	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
)

// Each row is a column type, a literal, and what the event has to hold.
func TestValuesOfEachType(t *testing.T) {
	s := mariadb.Shared(t)
	database := s.Database(t)
	db := s.Open(t, database)
	db.SetMaxOpenConns(1)
	run(t, db, "SET NAMES utf8mb4", "SET time_zone = '+08:00'", "SET sql_mode = ''")
	cases := []struct {
		column, literal string
		want            any
	}{
		{"TINYINT", "-128", int64(-128)},
		{"TINYINT UNSIGNED", "255", uint64(255)},
		{"SMALLINT", "-32768", int64(-32768)},
		{"SMALLINT UNSIGNED", "65535", uint64(65535)},
		{"MEDIUMINT", "-8388608", int64(-8388608)},
		{"MEDIUMINT UNSIGNED", "16777215", uint64(16777215)},
		{"INT", "-2147483648", int64(-2147483648)},
		{"INT UNSIGNED", "4294967295", uint64(4294967295)},
		{"BIGINT", "-9223372036854775808", int64(-9223372036854775808)},
		{"BIGINT UNSIGNED", "18446744073709551615", uint64(18446744073709551615)},
		{"BOOLEAN", "TRUE", int64(1)},
		{"DECIMAL(30,10)", "'-12345678901234567890.0000000001'", "-12345678901234567890.0000000001"},
		{"DECIMAL(10,2)", "'0.50'", "0.50"},
		{"DECIMAL(10,0) UNSIGNED", "7", "7"},
		{"FLOAT", "1.5", float32(1.5)},
		{"DOUBLE", "-1e300", float64(-1e300)},
		{"BIT(1)", "b'1'", uint64(1)},
		{"BIT(12)", "b'101010101010'", uint64(0b101010101010)},
		{"BIT(64)", "18446744073709551615", uint64(18446744073709551615)},
		{"YEAR", "2026", int64(2026)},
		{"YEAR", "0", int64(0)},
		{"DATE", "'2026-11-21'", "2026-11-21"},
		{"DATE", "'0000-00-00'", "0000-00-00"},
		{"TIME", "'-838:59:59'", "-838:59:59"},
		{"TIME(3)", "'12:34:56.789'", "12:34:56.789"},
		{"DATETIME", "'2026-11-21 01:02:03'", "2026-11-21 01:02:03"},
		{"DATETIME(6)", "'2026-11-21 01:02:03.000004'", "2026-11-21 01:02:03.000004"},
		{"DATETIME", "'0000-00-00 00:00:00'", "0000-00-00 00:00:00"},
		{"TIMESTAMP NULL", "'2026-11-21 08:00:00'", time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)},
		{"TIMESTAMP(3) NULL", "'2026-11-21 08:00:00.125'", time.Date(2026, 11, 21, 0, 0, 0, 125e6, time.UTC)},
		{"TIMESTAMP NULL", "'0000-00-00 00:00:00'", time.Time{}},
		{"CHAR(5) CHARACTER SET utf8mb4", "'玉門 '", "玉門"},
		{"CHAR(200) CHARACTER SET utf8mb4", "'long'", "long"},
		{"VARCHAR(20) CHARACTER SET utf8mb4", "'玉門😀 '", "玉門😀 "},
		{"VARCHAR(500) CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_ai_ci", "'ä'", "ä"},
		{"VARCHAR(20) CHARACTER SET latin1", "'Zürich €'", "Zürich €"},
		{"VARCHAR(20) CHARACTER SET gbk", "'玉'", []byte{0xd3, 0xf1}},
		{"TEXT CHARACTER SET utf8mb4", "'text'", "text"},
		{"LONGTEXT CHARACTER SET latin1", "'é'", "é"},
		{"JSON", `'{"a": [1, "x"]}'`, `{"a": [1, "x"]}`},
		{"BINARY(4)", "x'0100'", []byte{1, 0, 0, 0}},
		{"VARBINARY(4)", "x'0100'", []byte{1, 0}},
		{"TINYBLOB", "x'00ff'", []byte{0, 0xff}},
		{"LONGBLOB", "x''", []byte{}},
		{"ENUM('a','b,c','ä') CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "'ä'", "ä"},
		{"ENUM('ü','€') CHARACTER SET latin1", "'€'", "€"},
		{"SET('ü','€') CHARACTER SET latin1", "'ü,€'", "ü,€"},
		{"ENUM('a','b')", "0", ""},
		{"SET('x','y','z')", "'x,z'", "x,z"},
		{"SET('x','y')", "''", ""},
		{"INT", "NULL", nil},
		{"INT AS (1 + 1) VIRTUAL", "DEFAULT", int64(2)},
		{"INT AS (1 + 2) STORED", "DEFAULT", int64(3)},
		{"INT INVISIBLE DEFAULT 9", "DEFAULT", int64(9)},
		{"UUID", "'123e4567-e89b-12d3-a456-426655440000'", []byte{0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x55, 0x44, 0, 0}},
	}
	ddl, columns, values := "CREATE TABLE all_types (id INT PRIMARY KEY", "id", "1"
	for i, c := range cases {
		ddl += fmt.Sprintf(", c%d %s", i, c.column)
		columns += fmt.Sprintf(", c%d", i)
		values += ", " + c.literal
	}
	run(t, db, ddl+") CHARACTER SET latin1")
	for _, compressed := range []string{"0", "1"} {
		t.Run("log_bin_compress="+compressed, func(t *testing.T) {
			run(t, db, "SET GLOBAL log_bin_compress = "+compressed, "SET GLOBAL log_bin_compress_min_len = 10")
			defer run(t, db, "SET GLOBAL log_bin_compress = 0")
			r := newRecorder()
			_, stop := follow(t, config(s, database, cdc.Memory()), r.handle)
			r.wait(t, started)
			run(t, db, "INSERT INTO all_types ("+columns+") VALUES ("+values+")", "DELETE FROM all_types")
			events := r.wait(t, func(e []cdc.Event) bool { return len(e) == 3 })
			if err := stop(); err == nil {
				t.Fatal("no error")
			}
			for _, row := range []*cdc.Row{events[1].After, events[2].Before} {
				for i, c := range cases {
					got, ok := row.Get(fmt.Sprintf("c%d", i))
					if want := fmt.Sprintf("%T %#v", c.want, c.want); !ok || fmt.Sprintf("%T %#v", got, got) != want {
						t.Errorf("%s %s: got %T %#v, want %s", c.column, c.literal, got, got, want)
					}
				}
			}
		})
	}
}
