// Command sample is an ordinary in-cluster program, nobody's special case: it
// uses rest.InClusterConfig, lists and watches the ConfigMaps of its namespace,
// reads one Secret, and serves what it saw.
//
//	GET :PORT/   {"host","synced","configmaps":{name:{"k":"v"}},"secret","secretError","forbidden","lastEvent"}
//
// Environment beside what kubelet sets: NAMESPACE, SECRET (name of the Secret
// it may read), FORBIDDEN (name of one it may not), PORT. `sample pause` waits
// for a signal, for use as the sandbox's own process; `sample env` prints the
// environment, a variable a line.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

type view struct {
	Host        string                       `json:"host"`
	Synced      bool                         `json:"synced"`
	ConfigMaps  map[string]map[string]string `json:"configmaps"`
	Secret      string                       `json:"secret"`
	SecretError string                       `json:"secretError"`
	Forbidden   string                       `json:"forbidden"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "pause":
			<-ctx.Done()
		case "env":
			fmt.Println(strings.Join(os.Environ(), "\n"))
		default:
			log.Fatalf("%q: pause and env are understood", os.Args[1])
		}
		return
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatal(err)
	}
	namespace := os.Getenv("NAMESPACE")
	var mu sync.Mutex
	seen := view{Host: config.Host, ConfigMaps: map[string]map[string]string{}}

	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace))
	informer := factory.Core().V1().ConfigMaps().Informer()
	update := func(obj any) {
		cm := obj.(*corev1.ConfigMap)
		mu.Lock()
		defer mu.Unlock()
		seen.ConfigMaps[cm.Name] = cm.Data
	}
	_, err = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    update,
		UpdateFunc: func(_, obj any) { update(obj) },
		DeleteFunc: func(obj any) {
			if cm, ok := obj.(*corev1.ConfigMap); ok {
				mu.Lock()
				defer mu.Unlock()
				delete(seen.ConfigMaps, cm.Name)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	factory.Start(ctx.Done())

	go func() {
		cache.WaitForCacheSync(ctx.Done(), informer.HasSynced)
		mu.Lock()
		seen.Synced = true
		mu.Unlock()
		log.Printf("synced with %s", config.Host)
	}()
	go func() {
		for ctx.Err() == nil {
			secret, err := client.CoreV1().Secrets(namespace).Get(ctx, os.Getenv("SECRET"), metav1.GetOptions{})
			_, refused := client.CoreV1().Secrets(namespace).Get(ctx, os.Getenv("FORBIDDEN"), metav1.GetOptions{})
			mu.Lock()
			seen.Secret, seen.SecretError, seen.Forbidden = "", "", "read"
			if err != nil {
				seen.SecretError = err.Error()
			} else {
				seen.Secret = string(secret.Data["value"])
			}
			if refused != nil {
				seen.Forbidden = refused.Error()
			}
			mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}()

	server := &http.Server{Addr: ":" + os.Getenv("PORT"), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = json.NewEncoder(w).Encode(seen)
	})}
	go func() { <-ctx.Done(); _ = server.Close() }()
	if err := server.ListenAndServe(); err != nil && err != http.ErrServerClosed {
		log.Fatal(err)
	}
}
