import io.kubernetes.client.informer.SharedInformerFactory;
import io.kubernetes.client.openapi.apis.CoreV1Api;
import io.kubernetes.client.openapi.models.V1ConfigMap;
import io.kubernetes.client.openapi.models.V1ConfigMapList;
import io.kubernetes.client.util.ClientBuilder;
import java.nio.file.Files;
import java.nio.file.Path;

/** Lists and watches the ConfigMaps of its namespace by an informer, and prints their names once it has them. */
class Informer {
  public static void main(String[] arguments) throws Exception {
    var namespace = Files.readString(Path.of("/var/run/secrets/kubernetes.io/serviceaccount/namespace"));
    var client = ClientBuilder.cluster().build().setReadTimeout(0);
    var api = new CoreV1Api(client);
    var factory = new SharedInformerFactory(client);
    var informer =
        factory.sharedIndexInformerFor(
            params ->
                api.listNamespacedConfigMap(namespace)
                    .resourceVersion(params.resourceVersion)
                    .timeoutSeconds(params.timeoutSeconds)
                    .watch(params.watch)
                    .buildCall(null),
            V1ConfigMap.class,
            V1ConfigMapList.class);
    factory.startAllRegisteredInformers();
    while (!informer.hasSynced()) {
      Thread.sleep(10);
    }
    var names = informer.getIndexer().list().stream().map(found -> found.getMetadata().getName()).sorted().toList();
    System.out.println("synced " + names.size() + " " + String.join(" ", names));
    Thread.currentThread().join();
  }
}
