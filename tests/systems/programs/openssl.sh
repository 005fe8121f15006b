# SPDX-License-Identifier: MIT
# Digests, ciphers, and the arithmetic of public keys.
busybox seq 1 50000 >data
for d in md5 sha1 sha256 sha384 sha512 sha3-256 blake2b512 ripemd160 sm3; do openssl dgst -$d data; done
openssl dgst -sha256 -hmac secret data
key=000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f
iv=0f0e0d0c0b0a09080706050403020100
for c in aes-256-cbc aes-256-ctr camellia-256-cbc aria-256-ctr chacha20; do
    openssl enc -$c -K $key -iv $iv -in data -out data.$c && openssl dgst -sha256 data.$c
    openssl enc -d -$c -K $key -iv $iv -in data.$c | cmp - data && echo "$c goes back"
done
for k in aes-128-ecb des-ede3-cbc; do openssl enc -$k -pbkdf2 -S 0102030405060708 -k word -in data | sha256sum; done
openssl prime 1000000007 1000000011 170141183460469231731687303715884105727
openssl prime -hex FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF43
# An Ed25519 key is any 32 bytes: this one is made here, and signing with it has one right answer.
{
    echo "-----BEGIN PRIVATE KEY-----"
    printf '\060\056\002\001\000\060\005\006\003\053\145\160\004\042\004\040ringdown-fixed-key-for-this-test' | openssl base64
    echo "-----END PRIVATE KEY-----"
} >ed.pem
openssl pkey -in ed.pem -pubout
openssl pkeyutl -sign -inkey ed.pem -rawin -in data | sha256sum
openssl genrsa -out rsa.pem 1024 2>/dev/null
openssl rsa -in rsa.pem -check -noout
openssl dgst -sha256 -sign rsa.pem -out data.sig data
openssl rsa -in rsa.pem -pubout -out rsa.pub 2>/dev/null
openssl dgst -sha256 -verify rsa.pub -signature data.sig data
openssl ecparam -name prime256v1 -genkey -noout -out ec.pem
openssl ec -in ec.pem -pubout -out ec.pub 2>/dev/null
openssl dgst -sha256 -sign ec.pem -out data.sig data && openssl dgst -sha256 -verify ec.pub -signature data.sig data
