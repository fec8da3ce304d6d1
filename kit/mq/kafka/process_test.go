package kafka_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"

	servers "github.com/yumen-io/yumen/kit/internal/servers/kafka"
	"github.com/yumen-io/yumen/kit/internal/servers/mariadb"
	"github.com/yumen-io/yumen/kit/mq"
	"github.com/yumen-io/yumen/kit/mq/internal/mqtest"
	"github.com/yumen-io/yumen/kit/mq/kafka"
)

// runChild is a consumer that is to be killed. Words are brokers, topic and DSN.
func runChild() {
	mqtest.RunChild(func(words []string) (*sql.DB, func(mq.Claim) mq.Consumer) {
		db, err := sql.Open("mysql", words[2])
		if err != nil {
			panic(err)
		}
		return db, func(claim mq.Claim) mq.Consumer {
			c, err := kafka.NewConsumer(kafka.ConsumerConfig{
				Brokers: strings.Split(words[0], ","), Group: words[1] + "-children", Topics: []string{words[1]},
				Session: time.Second, Claim: claim,
				// The brokers in this process forget now and then that a consumer they have not heard of was to come.
				Rebalance: time.Second, Delivery: mq.Delivery{BatchMessages: 100},
			})
			if err != nil {
				panic(err)
			}
			return c
		}
	})
}

func TestKilledConsumersWriteEachRowOnce(t *testing.T) {
	c := cluster(t)
	topic := freshTopic(t, c.ListenAddrs())
	server := mariadb.Shared(t)
	name := server.Database(t)
	db := server.Open(t, name)
	mqtest.CreateRows(t, db)
	mqtest.Killing(t, db, []string{strings.Join(c.ListenAddrs(), ","), topic, server.DSN(name)}, topic,
		publisher(t, c.ListenAddrs()), 10_000, 3, 30*time.Second, func(int) { c.ShufflePartitionLeaders(); c.RehashCoordinators() })
}

func TestKilledConsumersAndBrokerWriteEachRowOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds until Kafka runs")
	}
	kafka := servers.Start(t)
	topic := freshTopic(t, kafka.Brokers())
	server := mariadb.Shared(t)
	name := server.Database(t)
	db := server.Open(t, name)
	mqtest.CreateRows(t, db)
	mqtest.Killing(t, db, []string{strings.Join(kafka.Brokers(), ","), topic, server.DSN(name)}, topic,
		publisher(t, kafka.Brokers()), 10_000, 3, 90*time.Second, func(step int) {
			if step == 1 && kafka.Own() { // with consumers killed before it and after it
				kafka.Restart(t)
			}
		})
}
