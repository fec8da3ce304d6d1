// Package binlog tells the changes of a MySQL or MariaDB server from its row binlog, by GTID. It is a replica that keeps
// nothing but a position: see package cdc for what it promises and what an Event holds.
//
// The server needs log_bin, binlog_format=ROW, binlog_row_image=FULL, binlog_row_metadata=FULL (MariaDB from 10.5, MySQL from
// 8.0.1), and on MySQL gtid_mode=ON; Run says which is missing. The user needs REPLICATION SLAVE, REPLICATION CLIENT (which
// MariaDB also calls BINLOG MONITOR), and SELECT on information_schema, which everybody has.
//
// # When the server is gone
//
// A server that is killed, restarted or unreachable is tried again for ever; one that is frozen is noticed when it has
// been silent for Config.Silence. If the binlog after the checkpoint was purged, or the server has another history than
// the checkpoint, the source tells an Epoch and goes on from the present. After an ALTER, TRUNCATE, RENAME or DROP that may
// concern a followed table it tells an Epoch too; the rows after it have the new columns.
//
// # What it does not see
//
// Rows that InnoDB changes by itself, ON DELETE CASCADE and ON UPDATE CASCADE, are in no binlog. Run warns of such foreign keys.
//
// # Memory
//
// A batch has up to Config.BatchEvents events or BatchBytes of binlog, and whole transactions; a larger transaction comes in
// parts, of which only the last has an event with Last. Whoever handles slowly holds up the server's sending, not memory.
package binlog
