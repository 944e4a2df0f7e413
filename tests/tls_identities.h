/* Certificates for tests, each of which vouches for itself, in a folder of their own. Behind
 * cmocka.h.
 */
#ifndef TLS_IDENTITIES_H
#define TLS_IDENTITIES_H

#include "servers.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

typedef struct identity {
    char cert[SERVER_PATH_MAX + 32], key[SERVER_PATH_MAX + 32];
} identity;

static char dir[SERVER_PATH_MAX];
static identity of_server, of_client, of_stranger;

/* A certificate that vouches for itself. */
static inline void make(identity *id, const char *name)
{
    snprintf(id->cert, sizeof id->cert, "%s/%s.cert", dir, name);
    snprintf(id->key, sizeof id->key, "%s/%s.key", dir, name);
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *file = fopen(id->cert, "w");
    assert_int_equal(PEM_write_X509(file, cert), 1);
    fclose(file);
    file = fopen(id->key, "w");
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(file);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static inline int make_all(void **state)
{
    (void)state;
    assert_true(server_dir_new(dir));
    make(&of_server, "localhost");
    make(&of_client, "client");
    make(&of_stranger, "stranger");
    return 0;
}

static inline int remove_all(void **state)
{
    const identity *all[] = { &of_server, &of_client, &of_stranger };
    (void)state;
    for (int i = 0; i < 3; i++) {
        unlink(all[i]->cert);
        unlink(all[i]->key);
    }
    return rmdir(dir);
}

#endif
